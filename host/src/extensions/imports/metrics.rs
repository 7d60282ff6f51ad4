//! `wasmgate:extension/metrics`: the extension's own series on the page of metrics.

use crate::extensions::bindings::wasmgate::extension::metrics::{Host, Label};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, acted};

impl Host for &mut StoreState {
    fn count(&mut self, name: String, labels: Vec<Label>, by: f64) -> wasmtime::Result<Result<(), String>> {
        Ok(acted!(
            self,
            Function::effect("metrics.count"),
            (&name, &labels, by),
            Ok(()),
            self.services.series.count(&name, &pairs(labels), by).map_err(|e| e.to_string())
        ))
    }

    fn gauge(&mut self, name: String, labels: Vec<Label>, value: f64) -> wasmtime::Result<Result<(), String>> {
        Ok(acted!(
            self,
            Function::effect("metrics.gauge"),
            (&name, &labels, value),
            Ok(()),
            self.services.series.gauge(&name, &pairs(labels), value).map_err(|e| e.to_string())
        ))
    }

    fn observe(&mut self, name: String, labels: Vec<Label>, value: f64) -> wasmtime::Result<Result<(), String>> {
        Ok(acted!(
            self,
            Function::effect("metrics.observe"),
            (&name, &labels, value),
            Ok(()),
            self.services.series.observe(&name, &pairs(labels), value).map_err(|e| e.to_string())
        ))
    }
}

fn pairs(labels: Vec<Label>) -> Vec<(String, String)> {
    labels.into_iter().map(|l| (l.name, l.value)).collect()
}
