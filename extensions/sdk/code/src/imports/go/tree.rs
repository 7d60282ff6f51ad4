//! The names in a file of Go, and what they are there for. Not by functions that call themselves: a tree may be as deep as it is long.

use std::collections::{BTreeMap, BTreeSet};

use gosyn::ast::*;
use gosyn::token::Operator;

/// Names by what they are there for.
#[derive(Default)]
pub struct Names<'a> {
    /// Those before a dot: what is behind it, and the character that the name begins at.
    pub uses: BTreeMap<&'a str, Vec<(&'a str, usize)>>,
    /// Those that something is declared by, wherever in the file.
    pub declared: BTreeSet<&'a str>,
    /// Those that stand alone.
    pub read: BTreeSet<&'a str>,
    /// Those of the keys of literals: fields, or variables.
    pub keys: BTreeSet<&'a str>,
}

/// What the language has without a declaration.
const PREDECLARED: &str = "\
    any append bool byte cap clear close comparable complex complex128 complex64 copy delete error false float32 float64 \
    imag int int16 int32 int64 int8 iota len make max min new nil panic print println real recover rune string true uint uint16 uint32 \
    uint64 uint8 uintptr _";

impl Names<'_> {
    /// Whether nothing is used that another file of the package would have to declare.
    pub fn is_whole(&self) -> bool {
        self.read.iter().all(|name| self.declared.contains(name) || PREDECLARED.split_whitespace().any(|known| known == *name))
    }
}

/// A part of the tree that is still to be looked at.
enum Part<'a> {
    Expression(&'a Expression),
    Statement(&'a Statement),
    Literal(&'a LiteralValue),
}

/// The names of a file, but for its imports.
pub fn names(file: &File) -> Names<'_> {
    let mut walk = Walk { names: Names::default(), parts: Vec::new() };
    for declaration in &file.decl {
        match declaration {
            Declaration::Function(function) => walk.function(function),
            Declaration::Type(types) => walk.types(types),
            Declaration::Const(constants) => constants.specs.iter().for_each(|c| walk.values(&c.name, c.typ.as_ref(), &c.values)),
            Declaration::Variable(variables) => variables.specs.iter().for_each(|v| walk.values(&v.name, v.typ.as_ref(), &v.values)),
        }
    }
    while let Some(part) = walk.parts.pop() {
        match part {
            Part::Expression(expression) => walk.expression(expression),
            Part::Statement(statement) => walk.statement(statement),
            Part::Literal(literal) => walk.literal(literal),
        }
    }
    walk.names
}

struct Walk<'a> {
    names: Names<'a>,
    parts: Vec<Part<'a>>,
}

impl<'a> Walk<'a> {
    fn declare(&mut self, names: impl IntoIterator<Item = &'a Ident>) {
        self.names.declared.extend(names.into_iter().map(|n| n.name.as_str()));
    }

    fn see(&mut self, expressions: impl IntoIterator<Item = &'a Expression>) {
        self.parts.extend(expressions.into_iter().map(Part::Expression));
    }

    fn run(&mut self, statements: impl IntoIterator<Item = &'a Statement>) {
        self.parts.extend(statements.into_iter().map(Part::Statement));
    }

    fn function(&mut self, function: &'a FuncDecl) {
        match &function.recv {
            // A method's name is no name of the file.
            Some(receiver) => self.parameters(receiver),
            None => self.declare([&function.name]),
        }
        self.signature(&function.typ);
        self.run(function.body.iter().flat_map(|body| &body.list));
    }

    fn signature(&mut self, signature: &'a FuncType) {
        [&signature.typ_params, &signature.params, &signature.result].into_iter().for_each(|list| self.parameters(list));
    }

    fn parameters(&mut self, list: &'a FieldList) {
        self.declare(list.list.iter().flat_map(|field| &field.name));
        self.see(list.list.iter().map(|field| &field.typ));
    }

    fn types(&mut self, types: &'a Decl<TypeSpec>) {
        for spec in &types.specs {
            self.declare([&spec.name]);
            self.parameters(&spec.params);
            self.see([&spec.typ]);
        }
    }

    fn values(&mut self, names: &'a [Ident], typ: Option<&'a Expression>, values: &'a [Expression]) {
        self.declare(names);
        self.see(typ.into_iter().chain(values));
    }

    /// What stands before `:=` is declared, what stands before `=` is not.
    fn targets(&mut self, targets: impl IntoIterator<Item = &'a Expression>, defines: bool) {
        for target in targets {
            match target {
                Expression::Ident(name) if defines => self.declare([name]),
                other => self.see([other]),
            }
        }
    }

    fn literal(&mut self, literal: &'a LiteralValue) {
        for KeyedElement { key, val } in &literal.values {
            for element in key.iter().chain([val]) {
                match element {
                    Element::Expr(Expression::Ident(name)) if key.as_ref().is_some_and(|key| std::ptr::eq(key, element)) => {
                        self.names.keys.insert(&name.name);
                    }
                    Element::Expr(expression) => self.see([expression]),
                    Element::LitValue(inner) => self.parts.push(Part::Literal(inner)),
                }
            }
        }
    }

    fn expression(&mut self, expression: &'a Expression) {
        match expression {
            Expression::Ident(name) => {
                self.names.read.insert(&name.name);
            }
            Expression::Selector(selector) => match &*selector.x {
                Expression::Ident(name) => self.names.uses.entry(&name.name).or_default().push((&selector.sel.name, name.pos)),
                other => self.see([other]),
            },
            Expression::Call(call) => self.see([&*call.func].into_iter().chain(&call.args)),
            Expression::Index(index) => self.see([&*index.left, &*index.index]),
            Expression::IndexList(index) => self.see([&*index.left].into_iter().chain(&index.indices)),
            Expression::Slice(slice) => self.see([&*slice.left].into_iter().chain(slice.index.iter().flatten().map(|i| &**i))),
            Expression::FuncLit(function) => {
                self.signature(&function.typ);
                self.run(&function.body.list);
            }
            Expression::Ellipsis(ellipsis) => self.see(ellipsis.elt.as_deref()),
            Expression::BasicLit(_) => {}
            Expression::Range(range) => self.see([&*range.right]),
            Expression::Star(star) => self.see([&*star.right]),
            Expression::Paren(paren) => self.see([&*paren.expr]),
            Expression::TypeAssert(assertion) => self.see([&*assertion.left].into_iter().chain(assertion.right.as_deref())),
            Expression::CompositeLit(literal) => {
                self.see([&*literal.typ]);
                self.parts.push(Part::Literal(&literal.val));
            }
            Expression::List(list) => self.see(list),
            Expression::Operation(operation) => self.see([&*operation.x].into_iter().chain(operation.y.as_deref())),
            Expression::TypeMap(map) => self.see([&*map.key, &*map.val]),
            Expression::TypeArray(array) => self.see([&*array.len, &*array.typ]),
            Expression::TypeSlice(slice) => self.see([&*slice.typ]),
            Expression::TypeFunction(function) => self.signature(function),
            // Fields and methods have names of their own.
            Expression::TypeStruct(typ) => self.see(typ.fields.iter().map(|field| &field.typ)),
            Expression::TypeInterface(typ) => self.see(typ.methods.list.iter().map(|field| &field.typ)),
            Expression::TypeChannel(channel) => self.see([&*channel.typ]),
            Expression::TypePointer(pointer) => self.see([&*pointer.typ]),
        }
    }

    fn call(&mut self, call: &'a Call) {
        self.see([&*call.func].into_iter().chain(&call.args));
    }

    fn statement(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Go(go) => self.call(&go.call),
            Statement::Defer(defer) => self.call(&defer.call),
            Statement::If(branch) => {
                self.run(branch.init.as_deref().into_iter().chain(branch.else_.as_deref()).chain(&branch.body.list));
                self.see([&branch.cond]);
            }
            Statement::For(each) => {
                let heads = [&each.init, &each.cond, &each.post].into_iter().filter_map(|part| part.as_deref());
                self.run(heads.chain(&each.body.list));
            }
            Statement::Send(send) => self.see([&send.chan, &send.value]),
            Statement::Expr(statement) => self.see([&statement.expr]),
            Statement::Block(block) => self.run(&block.list),
            Statement::Range(range) => {
                let defines = matches!(range.op, Some((_, Operator::Define)));
                self.targets(range.key.iter().chain(&range.value), defines);
                self.see([&range.expr]);
                self.run(&range.body.list);
            }
            Statement::Empty(_) | Statement::Branch(_) => {}
            Statement::Label(label) => {
                self.declare([&label.name]);
                self.run([&*label.stmt]);
            }
            Statement::IncDec(statement) => self.see([&statement.expr]),
            Statement::Assign(assign) => {
                self.targets(&assign.left, assign.op == Operator::Define);
                self.see(&assign.right);
            }
            Statement::Return(statement) => self.see(&statement.ret),
            Statement::Switch(switch) => {
                self.run(switch.init.as_deref());
                self.see(&switch.tag);
                self.cases(&switch.block);
            }
            Statement::TypeSwitch(switch) => {
                self.run(switch.init.as_deref().into_iter().chain(switch.tag.as_deref()));
                self.cases(&switch.block);
            }
            Statement::Select(select) => {
                for clause in &select.body.body {
                    self.run(clause.comm.as_deref().into_iter().chain(&*clause.body));
                }
            }
            Statement::Declaration(declaration) => match declaration {
                DeclStmt::Type(types) => self.types(types),
                DeclStmt::Const(constants) => constants.specs.iter().for_each(|c| self.values(&c.name, c.typ.as_ref(), &c.values)),
                DeclStmt::Variable(variables) => variables.specs.iter().for_each(|v| self.values(&v.name, v.typ.as_ref(), &v.values)),
            },
        }
    }

    fn cases(&mut self, block: &'a CaseBlock) {
        for clause in &block.body {
            self.see(&clause.list);
            self.run(&*clause.body);
        }
    }
}
