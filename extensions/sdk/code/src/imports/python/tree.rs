//! The names in a module of Python, and what they are there for.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Alias, ExceptHandler, Expr, ExprContext, ModModule, Parameter, Pattern, Stmt, TypeParam};
use ruff_text_size::Ranged as _;

use crate::imports::{Descent, names};

/// Names that let code have others.
const DYNAMIC: &[&str] = &["NameError", "__builtins__", "builtins", "eval", "exec", "execfile", "globals", "locals", "vars"];

/// Names by what they are there for.
#[derive(Default)]
pub struct Names<'a> {
    /// Those that are used.
    pub used: BTreeMap<&'a str, Uses<'a>>,
    /// Those that something binds, wherever in the file.
    pub bound: BTreeSet<&'a str>,
    /// Whether something is imported that is not of the standard library.
    pub has_strangers: bool,
    depth: usize,
    is_unclear: bool,
}

/// How a name is used.
pub struct Uses<'a> {
    /// What stands behind a dot behind it.
    pub members: BTreeSet<&'a str>,
    /// The byte that it begins at first.
    pub at: usize,
}

/// The names of a module; none where names may come in ways that are not seen, or its tree is too deep.
pub fn names(module: &ModModule) -> Option<Names<'_>> {
    let mut names = Names::default();
    names.visit_body(&module.body);
    (!names.is_unclear).then_some(names)
}

impl<'a> Names<'a> {
    fn uses(&mut self, name: &'a str, member: Option<&'a str>, at: usize) {
        self.is_unclear |= DYNAMIC.contains(&name);
        let uses = self.used.entry(name).or_insert(Uses { members: BTreeSet::new(), at });
        uses.at = uses.at.min(at);
        uses.members.extend(member);
    }

    fn import(&mut self, module: &str, level: u32) {
        self.has_strangers |= level > 0 || !names::is_python_std(module);
    }
}

impl Descent for Names<'_> {
    fn state(&mut self) -> (&mut usize, &mut bool) {
        (&mut self.depth, &mut self.is_unclear)
    }
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                self.bound.insert(&function.name);
            }
            Stmt::ClassDef(class) => {
                self.bound.insert(&class.name);
            }
            Stmt::Global(global) => self.bound.extend(global.names.iter().map(|n| n.as_str())),
            Stmt::Nonlocal(nonlocal) => self.bound.extend(nonlocal.names.iter().map(|n| n.as_str())),
            Stmt::Import(import) => import.names.iter().for_each(|alias| self.import(&alias.name, 0)),
            Stmt::ImportFrom(import) => self.import(import.module.as_ref().map_or("", |m| m.as_str()), import.level),
            Stmt::IpyEscapeCommand(_) => self.is_unclear = true,
            _ => {}
        }
        self.deeper(|names| visitor::walk_stmt(names, statement));
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Name(name) => match name.ctx {
                ExprContext::Load => self.uses(&name.id, None, name.start().to_usize()),
                _ => {
                    self.bound.insert(&name.id);
                }
            },
            Expr::Attribute(attribute) if let Expr::Name(name) = &*attribute.value => {
                self.uses(&name.id, Some(&attribute.attr), name.start().to_usize());
            }
            _ => self.deeper(|names| visitor::walk_expr(names, expression)),
        }
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
        self.is_unclear |= name == "*";
        self.bound.insert(name.split('.').next().unwrap_or(name));
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bound.insert(&parameter.name);
        visitor::walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        self.bound.extend(inner.name.as_ref().map(|n| n.as_str()));
        visitor::walk_except_handler(self, handler);
    }

    fn visit_type_param(&mut self, parameter: &'a TypeParam) {
        self.bound.insert(parameter.name());
        visitor::walk_type_param(self, parameter);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(pattern) => pattern.name.as_ref(),
            Pattern::MatchStar(pattern) => pattern.name.as_ref(),
            Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
            _ => None,
        };
        self.bound.extend(name.map(|n| n.as_str()));
        self.deeper(|names| visitor::walk_pattern(names, pattern));
    }
}
