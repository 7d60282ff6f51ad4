//! The names in a file of Rust, and what they are there for. Modules in it have names of their own.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Block, Expr, ExprMethodCall, File, Ident, ImplItem, Item, ItemMacro, ItemMod, Lifetime, Macro, Member, Pat, TraitItem, Type, UseTree,
};

use crate::imports::{Descent, names};

/// Macros that bring what is in another file.
const FILES: &[&str] = &["bindgen", "include", "include_proto"];

/// Names by what they are there for.
#[derive(Default)]
pub struct Names {
    /// Those that a path begins with.
    pub used: BTreeMap<String, Uses>,
    /// All others.
    pub bound: BTreeSet<String>,
    /// What imports begin with.
    pub roots: BTreeSet<String>,
    /// The name of a method, whose place is its type.
    method: Option<Ident>,
    depth: usize,
    is_unclear: bool,
}

/// How a name is used.
pub struct Uses {
    /// What stands behind it in a path, or nothing.
    pub members: BTreeSet<Option<String>>,
    /// The byte that it begins at first.
    pub at: usize,
}

/// The names of a file; none where names may come in ways that are not seen, where it is a part of one, or its tree is too deep.
pub fn names(file: &File) -> Option<Names> {
    let mut names = Names::default();
    let is_whole = |item: &Item| matches!(item, Item::Use(_)) || matches!(item, Item::Fn(function) if function.sig.ident == "main");
    if !file.items.iter().any(is_whole) {
        return None;
    }
    names.visit_file(file);
    let has_twins = names.roots.iter().any(|root| names::RUST_TWINS.contains(&root.as_str()));
    (!names.is_unclear && !has_twins).then_some(names)
}

impl Names {
    /// What a macro is given may become anything.
    fn given(&mut self, tokens: TokenStream) {
        let mut streams = vec![tokens];
        while let Some(tokens) = streams.pop() {
            for tree in tokens {
                match tree {
                    TokenTree::Group(group) => streams.push(group.stream()),
                    TokenTree::Ident(ident) => {
                        self.bound.insert(ident.to_string());
                    }
                    TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                }
            }
        }
    }

    fn import(&mut self, tree: &UseTree) {
        let root = |tree: &UseTree| match tree {
            UseTree::Path(path) => Some(path.ident.to_string()),
            UseTree::Name(name) => Some(name.ident.to_string()),
            UseTree::Rename(rename) => Some(rename.ident.to_string()),
            UseTree::Glob(_) | UseTree::Group(_) => None,
        };
        match tree {
            UseTree::Group(group) => self.roots.extend(group.items.iter().filter_map(root)),
            tree => self.roots.extend(root(tree)),
        }
        let is_std = matches!(tree, UseTree::Path(path) if path.ident == "std");
        let mut trees = vec![(tree, None)];
        while let Some((tree, before)) = trees.pop() {
            match tree {
                UseTree::Path(path) => trees.push((&path.tree, Some(&path.ident))),
                UseTree::Name(name) if name.ident == "self" => self.bound.extend(before.map(Ident::to_string)),
                UseTree::Name(name) => {
                    self.bound.insert(name.ident.to_string());
                }
                UseTree::Rename(rename) => {
                    self.bound.insert(rename.rename.to_string());
                }
                // Of `std` it is known that the traits of a prelude are all that it brings.
                UseTree::Glob(_) => self.is_unclear |= !is_std || before.is_none_or(|b| b != "prelude"),
                UseTree::Group(group) => trees.extend(group.items.iter().map(|tree| (tree, before))),
            }
        }
    }
}

impl Descent for Names {
    fn state(&mut self) -> (&mut usize, &mut bool) {
        (&mut self.depth, &mut self.is_unclear)
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_ident(&mut self, ident: &'a Ident) {
        if self.method.as_ref() != Some(ident) {
            self.bound.insert(ident.to_string());
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if let Some(first) = path.segments.first().filter(|_| path.leading_colon.is_none()) {
            let at = first.ident.span().byte_range().start;
            let uses = self.used.entry(first.ident.to_string()).or_insert(Uses { members: BTreeSet::new(), at });
            uses.at = uses.at.min(at);
            uses.members.insert(path.segments.get(1).map(|second| second.ident.to_string()));
            if path.segments.len() > 1 && ["core", "alloc"].iter().any(|root| first.ident == root) {
                self.roots.insert(first.ident.to_string());
            }
        }
        for segment in &path.segments {
            self.visit_path_arguments(&segment.arguments);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.import(&item.tree);
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        self.visit_ident(&module.ident);
    }

    fn visit_item_macro(&mut self, item: &'a ItemMacro) {
        let is_file = |segment: &syn::PathSegment| FILES.iter().any(|name| segment.ident == name);
        self.is_unclear |= item.mac.path.segments.last().is_some_and(is_file);
        self.given(item.mac.tokens.clone());
    }

    fn visit_macro(&mut self, _: &'a Macro) {}

    /// `#[path::to]` and what stands in it.
    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        // Without `std`, what is meant is in `alloc`, or in no standard library at all.
        let is_without = attribute.path().is_ident("no_std") || attribute.path().is_ident("no_core");
        let may_be = attribute.path().is_ident("cfg_attr") && attribute.meta.require_list().is_ok_and(|list| has_no_std(&list.tokens));
        self.is_unclear |= is_without || may_be;
    }

    fn visit_member(&mut self, _: &'a Member) {}

    fn visit_lifetime(&mut self, _: &'a Lifetime) {}

    fn visit_field(&mut self, field: &'a syn::Field) {
        self.visit_type(&field.ty);
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        self.visit_expr(&call.receiver);
        call.turbofish.iter().for_each(|generics| self.visit_angle_bracketed_generic_arguments(generics));
        call.args.iter().for_each(|argument| self.visit_expr(argument));
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        self.method = match item {
            ImplItem::Fn(function) => Some(function.sig.ident.clone()),
            ImplItem::Type(typ) => Some(typ.ident.clone()),
            ImplItem::Const(constant) => Some(constant.ident.clone()),
            _ => None,
        };
        if let ImplItem::Macro(item) = item {
            self.given(item.mac.tokens.clone());
        }
        self.deeper(|names| visit::visit_impl_item(names, item));
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        self.method = match item {
            TraitItem::Fn(function) => Some(function.sig.ident.clone()),
            TraitItem::Type(typ) => Some(typ.ident.clone()),
            TraitItem::Const(constant) => Some(constant.ident.clone()),
            _ => None,
        };
        if let TraitItem::Macro(item) = item {
            self.given(item.mac.tokens.clone());
        }
        self.deeper(|names| visit::visit_trait_item(names, item));
    }

    fn visit_item(&mut self, item: &'a Item) {
        self.method = None;
        self.deeper(|names| visit::visit_item(names, item));
    }

    fn visit_block(&mut self, block: &'a Block) {
        self.method = None;
        self.deeper(|names| visit::visit_block(names, block));
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        self.deeper(|names| visit::visit_expr(names, expression));
    }

    fn visit_type(&mut self, typ: &'a Type) {
        self.deeper(|names| visit::visit_type(names, typ));
    }

    fn visit_pat(&mut self, pattern: &'a Pat) {
        self.deeper(|names| visit::visit_pat(names, pattern));
    }
}

fn has_no_std(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|tree| matches!(tree, TokenTree::Ident(ident) if ident == "no_std"))
}
