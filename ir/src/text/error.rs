//! Errors in text are shown at their place in the file.

use std::sync::Arc;

use lalrpop_util::ParseError as Syntax;
use lalrpop_util::lexer::Token;
use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

use super::raw::Span;

/// Everything that is wrong with a file.
#[derive(Debug, Error, Diagnostic)]
#[error("{}", self.headline())]
#[diagnostic(code(fhir::parse))]
pub struct ParseError {
    /// The file.
    #[source_code]
    pub source_code: NamedSource<Arc<str>>,
    /// What is wrong, in order of place; of very many errors the first.
    #[related]
    pub errors: Vec<TextError>,
    /// How many there are.
    count: usize,
}

/// Most errors of one file that are kept: what is shown of a hostile file is short.
const MAX_ERRORS: usize = 64;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, Error, Diagnostic, PartialEq, Eq)]
#[error("{message}")]
pub struct TextError {
    /// What is wrong.
    pub message: String,
    /// Where.
    #[label("{label}")]
    pub span: SourceSpan,
    /// Few words under the caret.
    pub label: String,
    /// How to mend it.
    #[help]
    pub help: Option<String>,
}

impl TextError {
    pub(super) fn new(span: Span, label: impl Into<String>, message: impl Into<String>) -> Self {
        let span = SourceSpan::new(span.0.into(), span.1.saturating_sub(span.0));
        Self { message: message.into(), span, label: label.into(), help: None }
    }
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// A grammar error of the generated parser.
    pub(super) fn syntax(error: Syntax<usize, Token<'_>, &'static str>) -> Self {
        let expected = |list: &[String]| match list {
            [] => "nothing more".to_string(),
            list => list.join(", ").replace('"', "`"),
        };
        match error {
            Syntax::InvalidToken { location } => {
                Self::new((location, location), "here", "this character starts nothing that belongs in a file")
            }
            Syntax::UnrecognizedEof { location, expected: list } => {
                Self::new((location, location), "the file ends here", "the file ends too early")
                    .help(format!("expected: {}", expected(&list)))
            }
            Syntax::UnrecognizedToken { token: (start, token, end), expected: list } => {
                Self::new((start, end), "unexpected", format!("unexpected `{}`", token.1))
                    .help(format!("expected: {}", expected(&list)))
            }
            Syntax::ExtraToken { token: (start, token, end) } => {
                Self::new((start, end), "unexpected", format!("`{}` after the end", token.1))
            }
            Syntax::User { error } => Self::new((0, 0), "", error),
        }
    }
}

impl ParseError {
    pub(super) fn new(name: &str, text: &str, mut errors: Vec<TextError>) -> Self {
        errors.sort_by_key(|e| e.span.offset());
        let count = errors.len();
        errors.truncate(MAX_ERRORS);
        let text: Arc<str> = text.into();
        Self { source_code: NamedSource::new(name, text), errors, count }
    }
}

impl ParseError {
    /// All errors, one `file:line:column: message` per line.
    pub fn listing(&self) -> String {
        let lines: Vec<String> = self.errors.iter().map(|e| self.line(e)).collect();
        lines.join("\n")
    }
    fn line(&self, error: &TextError) -> String {
        let text = self.source_code.inner();
        let before = text.get(..error.span.offset()).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{}:{line}:{column}: {}", self.source_code.name(), error.message)
    }
    fn headline(&self) -> String {
        let first = self.errors.first().map(|e| self.line(e)).unwrap_or_default();
        match self.count {
            0 | 1 => first,
            n => format!("{first} (the first of {n} errors)"),
        }
    }
}

/// The candidate closest to `name`, for "did you mean"; none when all are far off.
pub(super) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.into_iter().map(|c| (edit_distance(name, c), c)).min()?;
    (2 * near.0 <= near.1.len()).then_some(near.1)
}

/// Levenshtein distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
