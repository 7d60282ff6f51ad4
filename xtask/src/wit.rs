//! `wit`: the contract parses, and every item of it is documented.

use std::path::Path;

use anyhow::{Context, Result};
use lexopt::Parser;
use wit_parser::{Docs, Function, Interface, PackageId, Resolve, Type, TypeDef, TypeDefKind, TypeOwner, World, WorldItem};

use crate::repo::Repo;
use crate::step::{Plan, Step};
use crate::{Finish, no_arguments};

pub const HELP: &str = "\
Usage: cargo xtask wit

Checks that wit/ parses with its dependencies and that the package and every interface, function, type, field, case and
world of it has a doc comment: the comments are the reference of whoever writes an extension.
";

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    no_arguments(args)?;
    Plan::new(1).step("wit", |step| check(repo, step))?;
    Ok(Finish::Done)
}

pub fn check(repo: &Repo, step: &Step) -> Result<()> {
    let (resolve, package) = parse(&repo.path("wit"))?;
    let undocumented = undocumented(&resolve, package);
    if undocumented.is_empty() {
        let count = resolve.packages[package].interfaces.len();
        step.note(&format!("{}: {count} interfaces, every item documented", resolve.packages[package].name));
        return Ok(());
    }
    let list = undocumented.join("\n  ");
    anyhow::bail!("without a `///` comment above them, so nobody can know what they mean:\n  {list}")
}

/// The contract with everything that it depends on.
pub fn parse(folder: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let (package, _) = resolve.push_dir(folder).context("parsing wit/")?;
    Ok((resolve, package))
}

/// `interface.item.part` of everything without a comment, in the order of the files.
fn undocumented(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut names = Names::default();
    let package = &resolve.packages[package];
    names.check("package", &package.docs);
    for (name, id) in &package.interfaces {
        names.interface(resolve, name, &resolve.interfaces[*id]);
    }
    for (name, id) in &package.worlds {
        names.world(name, &resolve.worlds[*id]);
    }
    names.missing
}

#[derive(Default)]
struct Names {
    missing: Vec<String>,
}

impl Names {
    fn check(&mut self, name: &str, docs: &Docs) {
        if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
            self.missing.push(name.to_owned());
        }
    }

    fn interface(&mut self, resolve: &Resolve, name: &str, interface: &Interface) {
        self.check(name, &interface.docs);
        for (type_name, id) in &interface.types {
            let definition = &resolve.types[*id];
            if !is_use(resolve, definition) {
                self.type_definition(&format!("{name}.{type_name}"), definition);
            }
        }
        for (function_name, function) in &interface.functions {
            self.function(&format!("{name}.{function_name}"), function);
        }
    }

    fn function(&mut self, name: &str, function: &Function) {
        self.check(name, &function.docs);
    }

    fn type_definition(&mut self, name: &str, definition: &TypeDef) {
        self.check(name, &definition.docs);
        let parts: Vec<(&String, &Docs)> = match &definition.kind {
            TypeDefKind::Record(record) => record.fields.iter().map(|field| (&field.name, &field.docs)).collect(),
            TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (&case.name, &case.docs)).collect(),
            TypeDefKind::Enum(choices) => choices.cases.iter().map(|case| (&case.name, &case.docs)).collect(),
            TypeDefKind::Flags(flags) => flags.flags.iter().map(|flag| (&flag.name, &flag.docs)).collect(),
            _ => Vec::new(),
        };
        for (part, docs) in parts {
            self.check(&format!("{name}.{part}"), docs);
        }
    }

    fn world(&mut self, name: &str, world: &World) {
        self.check(&format!("world {name}"), &world.docs);
        for item in world.imports.values().chain(world.exports.values()) {
            if let WorldItem::Function(function) = item {
                self.function(&format!("world {name}.{}", function.name), function);
            }
        }
    }
}

/// `use other.{thing}` brings a name here that is documented there.
fn is_use(resolve: &Resolve, definition: &TypeDef) -> bool {
    let TypeDefKind::Type(Type::Id(origin)) = definition.kind else { return false };
    let owner = |definition: &TypeDef| match definition.owner {
        TypeOwner::Interface(id) => Some(id),
        _ => None,
    };
    owner(definition) != owner(&resolve.types[origin])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", text).unwrap();
        assert_eq!(undocumented(&resolve, package), expected);
    }

    #[test]
    fn a_documented_package_is_fine() {
        check(
            "/// P.
            package a:b;
            /// I.
            interface i {
                /// R.
                record r {
                    /// F.
                    f: u8,
                }
            }
            /// J.
            interface j {
                use i.{r};
                /// G.
                g: func(x: r);
            }
            /// W.
            world w {
                import j;
            }",
            &[],
        );
    }

    #[test]
    fn what_lacks_a_comment_is_named() {
        check(
            "package a:b;
            interface i {
                record r { f: u8 }
                variant v { a, b(u8) }
                enum e { x }
                flags l { y }
                resource s { m: func(); }
                g: func();
            }
            world w { export h: func(); }",
            &[
                "package",
                "i",
                "i.r",
                "i.r.f",
                "i.v",
                "i.v.a",
                "i.v.b",
                "i.e",
                "i.e.x",
                "i.l",
                "i.l.y",
                "i.s",
                "i.[method]s.m",
                "i.g",
                "world w",
                "world w.h",
            ],
        );
    }
}
