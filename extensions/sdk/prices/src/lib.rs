//! What tokens cost. The list is a file with a version, `prices.json`; the configuration's `prices` come first. A model that neither names
//! has no price: what it costs is not known, which is not the same as nothing.
//!
//! What is absent: no vendor is asked. Prices change, so a version of the list is written beside every cost.

use std::collections::BTreeMap;

use serde::Deserialize;
use wasmgate_sdk::hub::Usage;
use wasmgate_sdk::pattern;

/// The list that comes with this version.
const LIST: &str = include_str!("../prices.json");

/// What tokens are priced by.
const UNIT: f64 = 1_000_000.0;

/// Prices in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of input that was neither read from a cache nor written to one.
    pub input: f64,
    /// Of input that was read from a cache; without it, like other input.
    #[serde(default)]
    pub cache_read: Option<f64>,
    /// Of input that was written to a cache; without it, like other input.
    #[serde(default)]
    pub cache_write: Option<f64>,
    /// Of output, reasoning included.
    pub output: f64,
}

/// All prices.
#[derive(Debug)]
pub struct Prices {
    version: String,
    own: Vec<(String, Price)>,
    list: BTreeMap<String, Price>,
}

#[derive(Deserialize)]
struct List {
    version: String,
    models: BTreeMap<String, Price>,
}

impl Prices {
    /// The list, behind prices of the configuration: names of models, or `provider/model`, with `*` for any text. Of several that match, the
    /// longest counts. The error names the field.
    pub fn new(own: BTreeMap<String, Price>) -> Result<Self, String> {
        let list: List = serde_json::from_str(LIST).map_err(|e| format!("the list of prices cannot be read: {e}"))?;
        for (name, price) in &own {
            for (field, value) in [
                ("input", Some(price.input)),
                ("output", Some(price.output)),
                ("cache_read", price.cache_read),
                ("cache_write", price.cache_write),
            ] {
                if let Some(value) = value.filter(|v| !v.is_finite() || *v < 0.0) {
                    return Err(format!("`prices.{name}.{field}` is {value}; write US dollars for a million tokens, 0 or more"));
                }
            }
        }
        let changed = if own.is_empty() { "" } else { "+config" };
        let mut own: Vec<_> = own.into_iter().collect();
        own.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Ok(Self { version: format!("{}{changed}", list.version), own, list: list.models })
    }

    /// Which list it is; `+config` says that the configuration has prices of its own.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model of a provider, when it is known.
    pub fn find(&self, provider: &str, model: &str) -> Option<Price> {
        let whole = format!("{provider}/{model}");
        let own = self.own.iter().find(|(p, _)| pattern::matches(p, &whole) || pattern::matches(p, model));
        own.map(|(_, price)| *price).or_else(|| self.list.get(model).or_else(|| self.list.get(undated(model))).copied())
    }

    /// What a usage costs, in US dollars, when the price is known.
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<f64> {
        self.find(provider, model).map(|price| price.of(usage))
    }
}

impl Price {
    /// What a usage costs, in US dollars. Tokens that came from a cache or went into one are part of the input, and are billed once.
    pub fn of(&self, usage: &Usage) -> f64 {
        let read = usage.cache_read_tokens.unwrap_or(0).min(usage.input_tokens);
        let written = usage.cache_write_tokens.unwrap_or(0).min(usage.input_tokens - read);
        let plain = usage.input_tokens - read - written;
        let sum = plain as f64 * self.input
            + read as f64 * self.cache_read.unwrap_or(self.input)
            + written as f64 * self.cache_write.unwrap_or(self.input)
            + usage.output_tokens as f64 * self.output;
        sum / UNIT
    }
}

/// A model's name without its date: `gpt-4o-2024-08-06`, `claude-sonnet-4-20250514`, `claude-3-5-haiku-latest`.
fn undated(model: &str) -> &str {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let Some((rest, last)) = model.rsplit_once('-') else { return model };
    if last == "latest" || digits(last, 8) {
        return rest;
    }
    if let Some((rest, month)) = rest.rsplit_once('-').filter(|(_, m)| digits(m, 2) && digits(last, 2))
        && let Some((rest, year)) = rest.rsplit_once('-')
        && digits(year, 4)
        && digits(month, 2)
    {
        return rest;
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, read: Option<u64>, write: Option<u64>, output: u64) -> Usage {
        Usage {
            input_tokens: input,
            cache_read_tokens: read,
            cache_write_tokens: write,
            output_tokens: output,
            reasoning_tokens: None,
            raw: None,
        }
    }

    #[test]
    fn what_is_not_listed_has_no_price() {
        let prices = Prices::new(BTreeMap::new()).unwrap();
        for (model, known) in [
            ("gpt-4o-mini", true),
            ("gpt-4o-2024-08-06", true),
            ("claude-sonnet-4-20250514", true),
            ("claude-3-5-haiku-latest", true),
            ("gpt-4o-audio-preview", false),
            ("smollm2", false),
            ("", false),
            ("-latest", false),
        ] {
            assert_eq!(prices.find("p", model).is_some(), known, "{model}");
        }
    }

    #[test]
    fn a_dated_name_has_a_price_of_its_own_where_it_is_listed() {
        let prices = Prices::new(BTreeMap::new()).unwrap();
        let input = |model: &str| prices.find("openai", model).unwrap().input;
        assert_eq!((input("gpt-4o-2024-05-13"), input("gpt-4o-2024-08-06"), input("gpt-4o")), (5.0, 2.5, 2.5));
        // The list's version is the day that it was made.
        assert_eq!(undated(&format!("m-{}", prices.version())), "m");
    }

    #[test]
    fn cached_tokens_are_billed_once() {
        let price = Price { input: 3.0, cache_read: Some(0.3), cache_write: Some(3.75), output: 15.0 };
        for (usage, expect) in [
            (usage(1_000_000, None, None, 0), 3.0),
            (usage(1_000_000, Some(1_000_000), None, 0), 0.3),
            (usage(1_000_000, Some(500_000), Some(400_000), 100_000), 0.15 + 1.5 + 0.3 + 1.5),
            // A provider that counts wrongly does not make the rest negative.
            (usage(10, Some(1_000_000), Some(1_000_000), 0), 3e-6),
        ] {
            assert!((price.of(&usage) - expect).abs() < 1e-9, "{usage:?}: {}", price.of(&usage));
        }
        let plain = Price { cache_read: None, cache_write: None, ..price };
        assert!((plain.of(&usage(1_000_000, Some(1_000_000), None, 0)) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_configuration_comes_first_and_its_longest_name() {
        let own = |text: &str| serde_json::from_str::<BTreeMap<String, Price>>(text).unwrap();
        let prices = Prices::new(own(
            r#"{"*": {"input": 1, "output": 1}, "local/*": {"input": 0, "output": 0}, "gpt-4o": {"input": 9, "output": 9}}"#,
        ))
        .unwrap();
        assert_eq!(prices.find("local", "x").unwrap().input, 0.0);
        assert_eq!(prices.find("openai", "gpt-4o").unwrap().input, 9.0);
        assert_eq!(prices.find("openai", "gpt-4o-mini").unwrap().input, 1.0);
        assert!(prices.version().ends_with("+config"));
        let refused = Prices::new(own(r#"{"m": {"input": -1, "output": 1}}"#)).unwrap_err();
        assert!(refused.contains("`prices.m.input` is -1"), "{refused}");
    }
}
