//! The grammar yields raw items: names and numbers as they are written, each with its place in the file.

/// Byte range in the text.
pub type Span = (usize, usize);

#[derive(Clone, Debug)]
pub struct Spanned<T> {
    pub span: Span,
    pub item: T,
}

impl<T> Spanned<T> {
    pub fn new(start: usize, item: T, end: usize) -> Self {
        Self { span: (start, end), item }
    }
}

#[derive(Debug)]
pub enum Item<'a> {
    Const { name: Spanned<&'a str>, ty: Spanned<Ty<'a>>, init: Spanned<Init<'a>> },
    Params(Spanned<Vec<Field<'a>>>),
    Input(Port<'a>),
    Output(Port<'a>),
    Func(Func<'a>),
}

#[derive(Debug)]
pub enum Init<'a> {
    Zeros,
    Full(Value<'a>),
    Blob(&'a str),
    List(Vec<Spanned<Value<'a>>>),
}

#[derive(Debug)]
pub struct Port<'a> {
    pub name: Spanned<&'a str>,
    pub ty: Spanned<Ty<'a>>,
    pub layout: Option<Spanned<Vec<Field<'a>>>>,
    pub range: Option<Spanned<Vec<Spanned<Value<'a>>>>>,
    pub heads: Option<Vec<Spanned<Vec<Field<'a>>>>>,
}

#[derive(Debug)]
pub struct Func<'a> {
    pub name: Spanned<&'a str>,
    pub params: Vec<Param<'a>>,
    pub result_types: Vec<Spanned<Ty<'a>>>,
    pub body: Vec<Stmt<'a>>,
    pub results: Spanned<Vec<Spanned<&'a str>>>,
}

#[derive(Debug)]
pub struct Param<'a> {
    pub name: Spanned<&'a str>,
    pub ty: Spanned<Ty<'a>>,
    pub loc: Option<Spanned<&'a str>>,
}

#[derive(Debug)]
pub struct Stmt<'a> {
    pub span: Span,
    pub name: Spanned<&'a str>,
    pub op: Spanned<&'a str>,
    pub operands: Vec<Spanned<&'a str>>,
    pub attrs: Vec<Field<'a>>,
    pub ty: Spanned<Ty<'a>>,
    pub loc: Option<Spanned<&'a str>>,
}

/// A type as written: `name<args>`.
#[derive(Debug)]
pub struct Ty<'a> {
    /// What stands before the bracket.
    pub name: &'a str,
    /// What stands within.
    pub args: Vec<TyArg<'a>>,
}

/// An argument of a type: `12`, `1x16`, `scalar` or `sd=2`.
#[derive(Debug)]
pub struct TyArg<'a> {
    /// The name before `=`, if any.
    pub key: Option<&'a str>,
    /// The value.
    pub value: &'a str,
}

impl<'a> Ty<'a> {
    /// The single argument of type `name`.
    ///
    /// # Errors
    /// When the type has another name or another number of arguments.
    pub fn only_arg(&self, name: &str) -> Result<&'a str, String> {
        match self.args.as_slice() {
            [TyArg { key: None, value }] if self.name == name => Ok(value),
            _ => Err(format!("expected a type of the form `{name}<..>`")),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub key: Spanned<&'a str>,
    pub value: Spanned<Value<'a>>,
}

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Int(&'a str),
    Float(&'a str),
    Name(&'a str),
    /// With its quotes.
    Str(&'a str),
    /// With its `@`.
    Symbol(&'a str),
    List(Vec<Spanned<Value<'a>>>),
    Dict(Vec<Field<'a>>),
}
