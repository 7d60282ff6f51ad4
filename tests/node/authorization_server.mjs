// A real authorization server (`oidc-provider`) on loopback, for the tests of OAuth. Whoever comes is logged in and consents, so that a plain HTTP
// client with cookies gets through. It prints one line of JSON with its address and ends when its standard input does.
//
// Beside what the standard has there are paths for tests: `GET /test/counts` says how often each grant was asked for and with what outcome,
// `GET /test/issued` has all tokens that were given, `POST /test/withdraw` takes back the grant behind an access token, as people do in the
// settings of their account.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// Packages are where NODE_PATH says, and only `require` looks there.
const require = createRequire(import.meta.url);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const { accessTokenSeconds = 3600 } = JSON.parse(process.argv[2] ?? "{}");

const clients = ["gateway", "other-gateway"].map((client_id) => ({
  client_id,
  client_secret: `${client_id}-secret-4f1c`,
  application_type: "native",
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  response_types: ["code"],
  // Of a native application on loopback any port is as good (RFC 8252, section 7.3).
  redirect_uris: ["http://127.0.0.1/api/oauth/api/callback", "http://127.0.0.1/api/oauth/second/callback"],
  token_endpoint_auth_method: "client_secret_basic",
}));

const page = (ctx, form) => {
  ctx.type = "html";
  ctx.body = `<!doctype html><title>device</title>${form}`;
};

const configuration = {
  clients,
  cookies: { keys: ["only for tests"] },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: (ctx, form) => page(ctx, form),
      userCodeConfirmSource: (ctx, form) => page(ctx, form),
      successSource: (ctx) => page(ctx, "done"),
    },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: () => true,
  pkce: { required: () => true },
  rotateRefreshToken: () => true,
  scopes: ["openid", "offline_access", "models"],
  ttl: { AccessToken: accessTokenSeconds, AuthorizationCode: 60, DeviceCode: 600, Grant: 86400, RefreshToken: 86400, Session: 86400, Interaction: 600 },
};

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, configuration);
const counts = {};
const issued = [];
let people = 0;

for (const [event, outcome] of [["grant.success", "granted"], ["grant.error", "refused"]]) {
  provider.on(event, (ctx) => {
    const key = `${ctx.oidc.params?.grant_type}:${outcome}`;
    counts[key] = (counts[key] ?? 0) + 1;
  });
}
provider.on("grant.success", (ctx) => issued.push(ctx.body.access_token, ctx.body.refresh_token));
provider.on("server_error", (ctx, error) => console.error(error));

// Each session is another person.
async function consent(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  const accountId = session?.accountId ?? `person-${++people}`;
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId } }, { mergeWithLastSubmission: false });
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? "openid");
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

async function withdraw(request, response) {
  let token = "";
  for await (const piece of request) token += piece;
  const found = await provider.AccessToken.find(token);
  if (found) {
    for (const kind of ["AccessToken", "RefreshToken"]) await provider[kind].revokeByGrantId(found.grantId);
    await (await provider.Grant.find(found.grantId))?.destroy();
  }
  response.writeHead(found ? 204 : 404).end();
}

const answer = provider.callback();
server.on("request", (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  const failed = (error) => response.writeHead(500).end(String(error));
  if (pathname.startsWith("/interaction/")) return void consent(request, response).catch(failed);
  const json = (document) => void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
  if (pathname === "/test/counts") return json(counts);
  if (pathname === "/test/issued") return json(issued);
  if (pathname === "/test/withdraw") return void withdraw(request, response).catch(failed);
  return answer(request, response);
});

console.log(JSON.stringify({ issuer }));
process.stdin.on("end", () => process.exit(0)).resume();
