//! What an extension may import: what its manifest asks for and the configuration grants.

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::manifest::{Capability, Manifest};
use super::state::StoreState;

/// The capabilities that an extension gets. Without a list in the configuration these are all that it asks for and that do not have to be
/// granted by name.
pub fn granted(manifest: &Manifest, grant: Option<&[Capability]>) -> Vec<Capability> {
    let asked = manifest.capabilities.iter().copied();
    match grant {
        Some(grant) => asked.filter(|c| grant.contains(c)).collect(),
        None => asked.filter(|c| !c.is_privileged()).collect(),
    }
}

/// What it can do without and was not granted.
pub fn withheld(manifest: &Manifest, granted: &[Capability]) -> Vec<Capability> {
    manifest.optional.iter().copied().filter(|c| !granted.contains(c)).collect()
}

/// The line to write in the configuration, so that an extension gets these too.
pub fn line(manifest: &Manifest, granted: &[Capability], more: impl IntoIterator<Item = Capability>) -> String {
    let mut wanted: Vec<Capability> = granted.iter().copied().chain(more).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let wanted: Vec<_> = wanted.iter().map(|c| c.name()).collect();
    format!("extensions.{}.grant: [{}]", manifest.name, wanted.join(", "))
}

/// Why a component cannot be linked: a readable list of all imports that it was not granted, where linking would name only the first.
pub fn refusal(
    engine: &Engine,
    component: &Component,
    linker: &Linker<StoreState>,
    manifest: &Manifest,
    granted: &[Capability],
) -> Option<String> {
    let first = linker.instantiate_pre(component).err()?;
    let component = component.component_type();
    let reason = missing(component.imports(engine).map(|(name, _)| name), manifest, granted);
    Some(reason.unwrap_or_else(|| format!("{first:#}")))
}

/// What a component imports without having asked for it, or without having been granted it; nothing when all is well.
pub fn missing<'a>(imports: impl Iterator<Item = &'a str>, manifest: &Manifest, granted: &[Capability]) -> Option<String> {
    // Who gets the standard interfaces gets that one too; without the grant it refuses every request.
    let has = |c: Capability| granted.contains(&c) || c == Capability::Log || granted.contains(&Capability::Wasi) && c == Capability::Http;
    // Whoever may make requests needs the interfaces that they are made of.
    let has = |c: Capability| has(c) || c == Capability::Wasi && granted.contains(&Capability::Http);
    // What is optional is linked, and refuses each use.
    let has = |c: Capability| has(c) || manifest.optional.contains(&c);
    let mut unasked = Vec::new();
    let mut ungranted = Vec::new();
    for import in imports {
        let Some(needs) = Capability::of_import(import).filter(|c| !has(*c)) else { continue };
        let line = format!("`{import}` needs the capability `{}`", needs.name());
        if manifest.capabilities.contains(&needs) { ungranted.push((needs, line)) } else { unasked.push(line) }
    }
    if !unasked.is_empty() {
        return Some(format!("it imports what its manifest does not ask for: {}", unasked.join(", ")));
    }
    if ungranted.is_empty() {
        return None;
    }
    let to_write = line(manifest, granted, ungranted.iter().map(|(c, _)| *c));
    let lines: Vec<_> = ungranted.into_iter().map(|(_, line)| line).collect();
    Some(format!("it imports what it was not granted: {}. To grant it, set `{to_write}`", lines.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_or_leaks_is_granted_by_name() {
        let mut manifest = Manifest::off_the_shelf("a");
        manifest.capabilities = vec![Capability::Kv, Capability::Generate, Capability::Http];
        assert_eq!(granted(&manifest, None), [Capability::Kv]);
        assert_eq!(granted(&manifest, Some(&[])), []);
        assert_eq!(granted(&manifest, Some(&[Capability::Generate, Capability::Random])), [Capability::Generate]);
    }

    #[test]
    fn what_an_extension_can_do_without_does_not_keep_it_out() {
        let mut manifest = Manifest::off_the_shelf("a");
        manifest.capabilities = vec![Capability::Clock, Capability::Generate];
        let imports = ["wasmgate:extension/generate@0.1.2"];
        let granted = granted(&manifest, None);
        let reason = missing(imports.into_iter(), &manifest, &granted).unwrap();
        assert!(reason.ends_with("set `extensions.a.grant: [clock, generate]`"), "{reason}");
        manifest.optional = vec![Capability::Generate];
        assert_eq!((missing(imports.into_iter(), &manifest, &granted), withheld(&manifest, &granted)), (None, vec![Capability::Generate]));
        assert_eq!(withheld(&manifest, &[Capability::Generate]), []);
    }

    #[test]
    fn imports_belong_to_capabilities() {
        for (import, expect) in [
            ("wasmgate:extension/generate@0.1.0", Some(Capability::Generate)),
            ("wasmgate:extension/request@0.1.0", None),
            ("wasmgate:extension/http@0.1.0", None),
            ("wasi:keyvalue/atomics@0.2.0-draft2", Some(Capability::Kv)),
            ("wasi:http/outgoing-handler@0.2.0", Some(Capability::Http)),
            ("wasi:http/types@0.2.0", Some(Capability::Wasi)),
            ("other:thing/x", None),
        ] {
            assert_eq!(Capability::of_import(import), expect, "{import}");
        }
    }
}
