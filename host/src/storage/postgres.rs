//! PostgreSQL as stores use it: connections, in bounded time and on a runtime of their own, and the schema.
//!
//! What is absent: nothing here runs on the runtime that serves requests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Steps from an empty schema to what this gateway expects; `wasmgate_schema` counts those that were taken. Only ever add to them.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE wasmgate_records (
        namespace text NOT NULL,
        tbl text NOT NULL,
        at_ms bigint NOT NULL,
        number bigint NOT NULL,
        row bytea NOT NULL,
        fields jsonb NOT NULL,
        PRIMARY KEY (namespace, tbl, at_ms, number)
    );
    CREATE INDEX wasmgate_records_fields ON wasmgate_records USING gin (fields jsonb_path_ops);
    CREATE TABLE wasmgate_record_tables (namespace text NOT NULL, tbl text NOT NULL, PRIMARY KEY (namespace, tbl));
    CREATE SEQUENCE wasmgate_sessions;
",
    "
    CREATE TABLE wasmgate_keys (
        namespace text NOT NULL,
        bucket text NOT NULL,
        key text NOT NULL,
        value bytea,
        version bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (namespace, bucket, key)
    );
    CREATE UNIQUE INDEX wasmgate_keys_version ON wasmgate_keys (version);
    CREATE SEQUENCE wasmgate_key_versions;
    CREATE TABLE wasmgate_key_batches (session bigint PRIMARY KEY, batch bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
",
];

/// Gateways that start together take turns in preparing the schema: the name of a lock among them.
const SCHEMA_LOCK: i64 = 0x7761_736d_6761_7465;

/// Connections at once: one writes, others read.
const CONNECTIONS: usize = 5;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a URL or a list of `name=value`. An error does not repeat it: it may hold a password.
pub fn parse_url(url: &str) -> Result<Config, String> {
    let config: Config = url.parse().map_err(|e: tokio_postgres::Error| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("it is no address of PostgreSQL: {reason}. Expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`")
    })?;
    if config.get_hosts().is_empty() {
        return Err("it names no host. Expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`".into());
    }
    Ok(config)
}

/// The connections, for threads that may wait.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    handle: Handle,
    shown: String,
}

impl Database {
    /// Connections to where a URL says, made when they are needed, and the runtime that they live on.
    pub fn open(url: &str) -> anyhow::Result<(Self, Runtime)> {
        let mut config = parse_url(url).map_err(|reason| anyhow!(reason))?;
        if config.get_application_name().is_none() {
            config.application_name("wasmgate");
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        let shown = shown(&config);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Require {
            Manager::from_config(config, tls()?, recycling)
        } else {
            // What does not have to be encrypted would not be verified either.
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, NoTls, recycling)
        };
        let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(deadpool_postgres::Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(CONNECT_TIMEOUT)).create_timeout(Some(CONNECT_TIMEOUT)).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("postgres").enable_all().build()?;
        Ok((Self { pool, handle: runtime.handle().clone(), shown }, runtime))
    }

    /// Where it is, for the log.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Runs something with a connection, in bounded time. A connection whose answer did not come is not used again.
    pub fn with<T, F: Future<Output = anyhow::Result<T>>>(&self, work: impl FnOnce(Arc<Object>) -> F) -> anyhow::Result<T> {
        self.handle.block_on(async {
            let client = Arc::new(self.pool.get().await.map_err(|e| anyhow!("no connection: {}", chain(&e)))?);
            let done = tokio::time::timeout(STATEMENT_TIMEOUT, work(Arc::clone(&client))).await;
            if done.is_err()
                && let Some(client) = Arc::into_inner(client)
            {
                drop(Object::take(client));
            }
            done.with_context(|| format!("it took longer than {} s", STATEMENT_TIMEOUT.as_secs()))?
        })
    }

    /// Brings the schema to what this gateway expects.
    pub fn migrate(&self) -> anyhow::Result<()> {
        self.with(|client| async move {
            client.batch_execute("BEGIN").await.map_err(told)?;
            let migrated = migrate(&client).await;
            let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(end).await.map_err(told)?;
            migrated
        })
    }

    /// A number that no other process and no other store of this one has.
    pub fn session(&self) -> anyhow::Result<u64> {
        let session = self.with(|client| async move {
            Ok(client.query_one("SELECT nextval('wasmgate_sessions')", &[]).await.map_err(told)?.try_get::<_, i64>(0)?)
        })?;
        Ok(u64::try_from(session)?)
    }
}

/// Where the database is, without what is secret.
fn shown(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    format!("postgres {}/{}", hosts.collect::<Vec<_>>().join(","), config.get_dbname().unwrap_or_default())
}

/// Verified against the certificates of the system, or those of `SSL_CERT_FILE`.
fn tls() -> anyhow::Result<MakeRustlsConnect> {
    let (tls, skipped) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| anyhow!("there are no certificates to verify PostgreSQL's with: {}", listed(&errors)))?;
    if !skipped.is_empty() {
        tracing::warn!(skipped = listed(&skipped), "some of the system's certificates cannot be read");
    }
    Ok(tls)
}

fn listed(errors: &[impl std::fmt::Display]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An error with what the server said, which its own text leaves out.
pub fn told(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(said) => anyhow!("{} ({})", said.message(), said.code().code()),
        None => error.into(),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn migrate(client: &Object) -> anyhow::Result<()> {
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK]).await.map_err(told)?;
    // Whoever may not make tables can still use those that are there.
    let there: bool = client.query_one("SELECT to_regclass('wasmgate_schema') IS NOT NULL", &[]).await.map_err(told)?.try_get(0)?;
    if !there {
        client.batch_execute("CREATE TABLE wasmgate_schema (version integer NOT NULL)").await.map_err(told)?;
    }
    let row = client.query_opt("SELECT version FROM wasmgate_schema", &[]).await.map_err(told)?;
    let version = row.map(|row| row.try_get::<_, i32>(0)).transpose()?.unwrap_or(0);
    let Some(steps) = usize::try_from(version).ok().and_then(|v| MIGRATIONS.get(v..)) else {
        bail!("its schema has version {version}, and this gateway knows none after {}: it was written by a newer one", MIGRATIONS.len());
    };
    if steps.is_empty() {
        return Ok(());
    }
    for step in steps {
        client.batch_execute(step).await.map_err(told)?;
    }
    client.batch_execute("DELETE FROM wasmgate_schema").await.map_err(told)?;
    let version = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    client.execute("INSERT INTO wasmgate_schema VALUES ($1)", &[&version]).await.map_err(told)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_not_repeated() {
        assert!(parse_url("postgres://u:secret@h:5433/d?sslmode=require").is_ok());
        assert!(parse_url("host=/run/postgresql dbname=d").is_ok());
        for wrong in ["", "postgres://u:secret@h:port/d", "redis://u:secret@h", "postgres:///d"] {
            let reason = parse_url(wrong).unwrap_err();
            assert!(reason.contains("Expected `postgres://") && !reason.contains("secret"), "{wrong}: {reason}");
        }
    }
}
