//! What is put into slots, and from what: the packed program before its layouts are chosen.

use fhec_ir::{Loc, Port, Shape, Value};

use super::affine::AffineMap;
use crate::approx::Polynomial;

/// A tensor in slots.
pub(super) struct Source {
    pub(super) kind: SourceKind,
    pub(super) shape: Shape,
    pub(super) loc: Loc,
    /// The value of the network that it holds.
    pub(super) origin: Option<Value>,
    /// The source whose layout this one has: itself for inputs and linear sources.
    pub(super) root: usize,
    /// Whether a port of the program describes its layout.
    pub(super) port: bool,
}

/// How a source is made.
pub(super) enum SourceKind {
    /// Input number so-and-so.
    Input(usize),
    /// A linear transform of earlier sources; in the layout of source `like`, if given.
    Linear { value: AffineMap, like: Option<usize> },
    /// A polynomial on `[-1, 1]` of every element, shared or one per channel.
    Polynomial { of: usize, polynomials: Vec<Polynomial>, rows: Rows },
    /// The square of every element, of a source in `[-1, 1]`.
    Square(usize),
    /// An element-wise product.
    Product(usize, usize),
}

impl SourceKind {
    /// The sources it is made of, each once.
    pub(super) fn operands(&self) -> Vec<usize> {
        match self {
            Self::Input(_) => Vec::new(),
            Self::Linear { value, .. } => value.terms.iter().map(|t| t.0).collect(),
            Self::Polynomial { of, .. } | Self::Square(of) => vec![*of],
            Self::Product(a, b) if a == b => vec![*a],
            Self::Product(a, b) => vec![*a, *b],
        }
    }
}

/// Which polynomial an element takes: number `element / inner mod channels`.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) inner: usize,
    pub(super) channels: usize,
}

impl Rows {
    pub(super) fn of(self, element: usize) -> usize {
        element / self.inner % self.channels
    }
}

/// Sources in order of definition, and which of them are the results, with the ports they stand for.
#[derive(Default)]
pub(super) struct SourceGraph {
    pub(super) sources: Vec<Source>,
    pub(super) results: Vec<(usize, Port)>,
    /// The power of two that results are divided by.
    pub(super) result_exponent: i32,
}

impl SourceGraph {
    /// Appends a source and returns its number.
    pub(super) fn push(&mut self, kind: SourceKind, shape: Shape, loc: &Loc) -> usize {
        let number = self.sources.len();
        let root = match &kind {
            SourceKind::Input(_) => number,
            SourceKind::Linear { like: Some(like), .. } => self.sources[*like].root,
            SourceKind::Linear { like: None, .. } => number,
            SourceKind::Polynomial { of, .. } | SourceKind::Square(of) => self.sources[*of].root,
            SourceKind::Product(a, _) => self.sources[*a].root,
        };
        self.sources.push(Source { kind, shape, loc: loc.clone(), origin: None, root, port: false });
        number
    }
    pub(super) fn root(&self, source: usize) -> usize {
        self.sources[source].root
    }
}
