//! The network as the planner sees it: a series-parallel tree of stages with levels, times and errors.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Microseconds of something; index = level.
pub type Micros = Arc<[f64]>;

/// What is to be planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// For messages.
    pub name: String,
    /// The highest level of the program, L.
    pub max_level: u32,
    /// The highest level at which the input may be encrypted.
    pub input_level: u32,
    /// The level that the output must keep.
    pub output_level: u32,
    /// The least level of a ciphertext that is to be bootstrapped.
    pub bootstrap_from: u32,
    /// The levels to which bootstraps restore.
    pub targets: Targets,
    /// Kinds of bootstrap (numbers of slots, for instance): microseconds per ciphertext, by the level restored.
    pub bootstraps: Vec<Micros>,
    /// Microseconds to drop one ciphertext, by the level after.
    pub drop: Micros,
    /// The stages.
    pub chain: Chain,
}

/// The levels to which bootstraps restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// Any level: unused moduli are not raised.
    #[default]
    Any,
    /// L only: a single modulus chain.
    Top,
}

/// Stages one after another, with the points before, between and after them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The stages.
    pub stages: Vec<Stage>,
    /// `points[i]` lies before `stages[i]`; one more at the end.
    pub points: Vec<Point>,
}

/// A place between stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Ciphertexts that carry the tensor here.
    pub width: u32,
    /// Whether it may be bootstrapped.
    pub site: Permission,
    /// What the caller knows the tensor by; the planner only hands it on.
    #[serde(default)]
    pub key: usize,
}

/// Whether a point is bootstrapped; the number is an index into [`Network::bootstraps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Never.
    Never,
    /// If it pays.
    May(usize),
    /// Always: placements that are fixed in advance.
    Must(usize),
}

/// One part of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Linear layers, and the members of composite polynomials.
    Step(Step),
    /// A function to be approximated.
    Activation(Activation),
    /// Two branches from one fork to one addition.
    Residual(Residual),
}

/// A stage with a fixed function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// For reports.
    pub name: String,
    /// Ways of computing it.
    pub variants: Vec<Variant>,
    /// Whether it begins with products by plaintexts, before which levels are dropped at no cost.
    pub plain: bool,
}

/// One way of computing a [`Step`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// For reports.
    pub id: String,
    /// Levels consumed.
    pub levels: u32,
    /// Time, by the level at which it starts.
    pub us: Micros,
}

/// A function to be approximated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// For reports.
    pub name: String,
    /// What the caller knows the activation by; the planner only hands it on.
    #[serde(default)]
    pub key: usize,
    /// Its approximations.
    pub candidates: Vec<Candidate>,
}

/// One approximation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// For reports.
    pub id: String,
    /// How it is computed; its first and last points are those around the activation.
    pub body: Chain,
    /// What it adds to the surrogate of the lost accuracy: sensitivity A_i times mean square error E_i (OLA).
    pub error: f64,
    /// Largest error on the calibrated interval.
    pub max_error: f64,
}

/// Two branches from one fork to one addition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// For reports.
    pub name: String,
    /// The longer branch.
    pub main: Chain,
    /// The shortcut; often without stages.
    pub skip: Chain,
    /// What the main branch pays for equal scales at the addition.
    pub main_align: Align,
    /// What the shortcut pays for equal scales at the addition.
    pub skip_align: Align,
    /// Time of the addition, by its level.
    pub us: Micros,
}

/// A multiplication that brings one side of an addition to the scale of the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Align {
    /// Levels consumed.
    pub levels: u32,
    /// Time, by the level before.
    pub us: Micros,
}

impl Chain {
    /// No stages yet; `start` is the point before the first one.
    pub fn new(start: Point) -> Self {
        Chain { stages: Vec::new(), points: vec![start] }
    }
    /// With one more stage, and the point after it.
    pub fn then(mut self, stage: Stage, after: Point) -> Self {
        self.stages.push(stage);
        self.points.push(after);
        self
    }
    /// No bootstrap anywhere.
    fn close(&mut self) {
        self.points.iter_mut().for_each(|point| point.site = Permission::Never);
        for stage in &mut self.stages {
            match stage {
                Stage::Activation(a) => a.candidates.iter_mut().for_each(|c| c.body.close()),
                Stage::Residual(r) => {
                    r.main.close();
                    r.skip.close();
                }
                Stage::Step(_) => {}
            }
        }
    }
    /// One bootstrap before every activation, except before the `first` one in order of execution; none elsewhere.
    fn fix(&mut self, first: &mut bool) {
        for (i, point) in self.points.iter_mut().enumerate() {
            let activation = matches!(self.stages.get(i), Some(Stage::Activation(_)));
            point.site = match point.site {
                Permission::May(kind) | Permission::Must(kind) if activation && !*first => Permission::Must(kind),
                _ => Permission::Never,
            };
            match self.stages.get_mut(i) {
                Some(Stage::Activation(a)) => {
                    *first = false;
                    a.candidates.iter_mut().for_each(|c| c.body.fix(first));
                }
                Some(Stage::Residual(r)) => {
                    r.main.fix(first);
                    r.skip.fix(first);
                }
                Some(Stage::Step(_)) | None => {}
            }
        }
    }
}

impl Point {
    /// A point with no bootstrap.
    pub fn closed(width: u32) -> Self {
        Point { width, site: Permission::Never, key: 0 }
    }
    /// A point that may be bootstrapped with the given kind.
    pub fn open(width: u32, kind: usize) -> Self {
        Point { width, site: Permission::May(kind), key: 0 }
    }
    /// The point with a key.
    #[must_use]
    pub fn with_key(self, key: usize) -> Self {
        Point { key, ..self }
    }
}

impl Stage {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Stage::Step(s) => &s.name,
            Stage::Activation(a) => &a.name,
            Stage::Residual(r) => &r.name,
        }
    }
}

impl Step {
    /// A linear layer with one variant.
    pub fn linear(name: impl Into<String>, levels: u32, us: Micros) -> Self {
        Step { name: name.into(), variants: vec![Variant { id: "only".into(), levels, us }], plain: true }
    }
}

impl Candidate {
    /// One polynomial of the given depth; `us` by the level at which it starts.
    pub fn polynomial(id: impl Into<String>, depth: u32, us: Micros, error: f64, max_error: f64) -> Self {
        let id = id.into();
        let variants = vec![Variant { id: "only".into(), levels: depth, us }];
        let step = Stage::Step(Step { name: id.clone(), variants, plain: false });
        let body = Chain::new(Point::closed(1)).then(step, Point::closed(1));
        Candidate { id, body, error, max_error }
    }
    /// The product of the input with a composition of polynomials, as composite ReLU: `members` are depths and times,
    /// `gate` is the time of the product, which takes one level. Between members, and on the input that waits for the
    /// product, `inner` holds.
    pub fn composite(
        id: impl Into<String>,
        members: &[(u32, Micros)],
        gate: Micros,
        inner: Point,
        error: f64,
        max_error: f64,
    ) -> Self {
        let id = id.into();
        let free: Micros = vec![0.0; gate.len()].into();
        let step = |name: String, levels: u32, us: &Micros| {
            let variants = vec![Variant { id: "only".into(), levels, us: us.clone() }];
            Stage::Step(Step { name, variants, plain: false })
        };
        let mut main = Chain::new(Point::closed(inner.width));
        for (i, (depth, us)) in members.iter().enumerate() {
            main = main.then(step(format!("{id} member {}", i + 1), *depth, us), inner);
        }
        let align = Align { levels: 0, us: free.clone() };
        let gated = Stage::Residual(Residual {
            name: format!("{id} gate"),
            main,
            skip: Chain::new(inner),
            main_align: align.clone(),
            skip_align: align,
            us: free,
        });
        let body = Chain::new(Point::closed(inner.width))
            .then(gated, Point::closed(inner.width))
            .then(step(format!("{id} product"), 1, &gate), Point::closed(inner.width));
        Candidate { id, body, error, max_error }
    }
}

impl Network {
    /// The same network with its bootstraps fixed: one before every activation but the first, and no others.
    /// The placement of multiplexed-convolution ResNets and of OLA.
    pub fn bootstrap_every_activation(&self) -> Network {
        let mut out = self.clone();
        out.chain.fix(&mut true);
        out
    }
    /// The same network without bootstraps.
    pub fn leveled(&self) -> Network {
        let mut out = self.clone();
        out.chain.close();
        out
    }
    /// The same network with one modulus chain: every bootstrap restores L.
    pub fn single_chain(&self) -> Network {
        Network { targets: Targets::Top, ..self.clone() }
    }
}
