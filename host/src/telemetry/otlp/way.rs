//! How the collector is reached: what the configuration says, and for the rest the variables of OpenTelemetry
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use reqwest::Url;

use super::attributes::{text, value};
use crate::config::{Otlp, check_endpoint};

/// Where a collector usually is.
const USUAL: &str = "http://localhost:4318";

/// How long it may take, when nobody says.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How one signal gets there.
#[derive(Debug, Clone)]
pub struct Way {
    /// The whole address.
    pub url: Url,
    /// Fields of each request.
    pub headers: HeaderMap,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Way {
    /// The way of `traces` or `metrics`. An error says what is wrong with a variable.
    pub fn of(signal: &str, config: &Otlp, environment: Environment<'_>) -> Result<Self, String> {
        let own = |what: &str| format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.to_uppercase());
        let variable = |what: &str| {
            let names = [own(what), format!("OTEL_EXPORTER_OTLP_{what}")];
            names.into_iter().find_map(|name| Some((environment(&name).filter(|v| !v.is_empty())?, name)))
        };
        // It is not said in another way, as long as there is one: but who set it to `grpc` would look for what arrives at port 4317.
        if let Some((protocol, name)) = variable("PROTOCOL").filter(|_| config.endpoint.is_none())
            && protocol != "http/protobuf"
        {
            return Err(format!("`{name}` is `{protocol}`; only `http/protobuf` is supported. Set it, or `telemetry.otlp.endpoint`."));
        }
        let (url, from) = match (&config.endpoint, environment(&own("ENDPOINT")).filter(|v| !v.is_empty()), variable("ENDPOINT")) {
            (Some(base), ..) => (below(base, signal), "telemetry.otlp.endpoint".to_owned()),
            // The one of a signal is complete.
            (None, Some(whole), _) => (whole, own("ENDPOINT")),
            (None, None, Some((base, name))) => (below(&base, signal), name),
            (None, None, None) => (below(USUAL, signal), String::new()),
        };
        check_endpoint(&url).map_err(|reason| format!("`{from}`: {reason}"))?;
        let url = Url::parse(&url).map_err(|e| format!("`{from}`: {e}"))?;
        let timeout = match (config.timeout, variable("TIMEOUT")) {
            (Some(timeout), _) => timeout,
            (None, Some((text, name))) => match text.parse() {
                Ok(ms @ 1..) => Duration::from_millis(ms),
                _ => return Err(format!("`{name}` is `{text}`; write a number of milliseconds.")),
            },
            (None, None) => PATIENCE,
        };
        let mut headers = HeaderMap::new();
        let configured = config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let (pairs, from): (Vec<_>, _) = match variable("HEADERS").filter(|_| config.headers.is_empty()) {
            Some((list, name)) => (pairs(&list).map_err(|reason| format!("`{name}`: {reason}"))?, name),
            None => (configured.collect(), "telemetry.otlp.headers".into()),
        };
        for (name, value) in pairs {
            let (Ok(field), Ok(mut value)) = (HeaderName::try_from(&name), HeaderValue::try_from(value)) else {
                return Err(format!(
                    "`{from}`: `{name}` is no name of a header field, or its value holds a character that no header can carry."
                ));
            };
            value.set_sensitive(true);
            headers.insert(field, value);
        }
        Ok(Self { url, headers, timeout })
    }
}

fn below(base: &str, signal: &str) -> String {
    format!("{}/v1/{signal}", base.trim_end_matches('/'))
}

/// `a=1,b=2`, with values as in an address. What stands there is not told: keys are among them.
fn pairs(list: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').ok_or("something in the list is not of the form `name=value`.")?;
        let encoded = format!("v={}", value.trim().replace('+', "%2B").replace('&', "%26"));
        let value = form_urlencoded::parse(encoded.as_bytes()).next().map(|(_, v)| v.into_owned()).unwrap_or_default();
        Ok((name.trim().to_owned(), value))
    };
    list.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

/// Who sends. The environment names the service; what the configuration says of it comes first.
pub fn resource(config: &Otlp, environment: Environment<'_>) -> Result<Resource, String> {
    const MORE: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let more = pairs(&environment(MORE).unwrap_or_default()).map_err(|reason| format!("`{MORE}`: {reason}"))?;
    let named = more.iter().find(|(name, _)| name == "service.name").map(|(_, v)| v.clone());
    let name = environment("OTEL_SERVICE_NAME").filter(|v| !v.is_empty()).or(named).unwrap_or_else(|| config.service_name.clone());
    let mut attributes = vec![
        text("service.name", name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ];
    let configured = config.resource.iter().map(|(n, v)| (n.clone(), v.clone()));
    for (name, more) in configured.chain(more) {
        if name == "service.name" {
            continue;
        }
        match attributes.iter_mut().find(|a| a.key == name) {
            // Only what the gateway itself says gives way.
            Some(own) if name.starts_with("service.") => own.value = Some(value(more)),
            Some(_) => {}
            None => attributes.push(text(&name, more)),
        }
    }
    Ok(Resource { attributes, ..Resource::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn way(config: &Otlp, environment: &[(&str, &str)]) -> Result<Way, String> {
        let look = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Way::of("traces", config, &look)
    }

    #[test]
    fn the_configuration_comes_before_the_environment() {
        let usual = way(&Otlp::default(), &[]).unwrap();
        assert_eq!((usual.url.as_str(), usual.timeout, usual.headers.len()), ("http://localhost:4318/v1/traces", PATIENCE, 0));

        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b+c, x-team = d"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        let set = way(&Otlp::default(), &variables).unwrap();
        assert_eq!((set.url.as_str(), set.timeout), ("https://c.example/otlp/v1/traces", Duration::from_millis(2500)));
        assert_eq!((&set.headers["api-key"], &set.headers["x-team"]), (&HeaderValue::from_static("a b+c"), &HeaderValue::from_static("d")));

        let config = Otlp {
            endpoint: Some("http://here:1".into()),
            timeout: Some(Duration::from_secs(3)),
            headers: [("x-own".to_owned(), Secret::new("k".into()))].into(),
            ..Otlp::default()
        };
        let own = way(&config, &variables).unwrap();
        assert_eq!((own.url.as_str(), own.timeout, own.headers.len()), ("http://here:1/v1/traces", config.timeout.unwrap(), 1));

        let whole = way(&Otlp::default(), &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://there/in"), variables[0]]).unwrap();
        assert_eq!(whole.url.as_str(), "http://there/in");
    }

    #[test]
    fn wrong_variables_are_told_by_name() {
        for (name, value, words) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "is not a URL"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x", "`http` or `https`"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only `http/protobuf`"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret-1", "`name=value`"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret-1", "no name of a header field"),
        ] {
            let reason = way(&Otlp::default(), &[(name, value)]).unwrap_err();
            assert!(reason.contains(name) && reason.contains(words) && !reason.contains("secret-1"), "{name}={value}: {reason}");
        }
    }

    #[test]
    fn who_sends() {
        let config = Otlp { resource: [("a".to_owned(), "1".to_owned())].into(), ..Otlp::default() };
        let look = |environment: &'static [(&'static str, &'static str)]| {
            let resource = resource(&config, &|name| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())).unwrap();
            let shown = resource.attributes.iter().map(|a| format!("{}={:?}", a.key, a.value.as_ref().and_then(|v| v.value.clone())));
            shown.collect::<Vec<_>>().join(" ")
        };
        let usual = look(&[]);
        assert!(usual.contains("service.name=Some(StringValue(\"wasmgate\"))") && usual.contains("a=Some(StringValue(\"1\"))"), "{usual}");
        let set = look(&[("OTEL_SERVICE_NAME", "edge"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,a=2,b=3,service.version=9")]);
        for part in ["service.name=Some(StringValue(\"edge\"))", "a=Some(StringValue(\"1\"))", "b=Some(StringValue(\"3\"))", "\"9\""] {
            assert!(set.contains(part), "{part}: {set}");
        }
    }
}
