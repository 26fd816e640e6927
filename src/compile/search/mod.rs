//! A search for plans over the forms of all activations at once, after AutoFHE (arXiv 2310.08012): an evolution whose objectives are
//! predicted time and measured agreement.
//!
//! The planner orders plans by a surrogate that is additive over activations, and its front is exact in that surrogate. What plans
//! are worth is measured here: each is fitted, its weights are rebuilt, and its results are compared with those of the network as it
//! was given. The first plans are spread over the planner's front; others descend from them. The exact planner has a part in every
//! one: it places bootstraps, and spends what a descendant leaves over, time that a finer form takes without making the whole
//! slower.

mod evolve;
mod folder;
mod landscape;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use fhec_ir::{Module, Nn, Tensor};
use fhec_passes::bootstraps::offer::{Offer, Request, SENSITIVITY_SAMPLES};
use fhec_passes::planner::Limits;
use serde::Serialize;

use super::attempt::{Laps, Prepared};
use super::choose::{TRIAL_LEAST, sensitivities};
use super::forms::{ActivationForm, Forms, fastest};
use super::refused::Refused;
use super::trials::{halves, spread};
use super::{Compiler, Model};
use crate::error::Error;
use evolve::{Breeder, Genome, Score, front, survivors};
use folder::{Checkpoint, Evaluated, Identity, file_of};
use landscape::Landscape;

/// How often a child that is known already is bred again before it is left out: small networks have few plans.
const BREEDINGS: usize = 32;

/// How a [`Compiler`] searches.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Plans of a generation; so many of the planner's front are the first one.
    pub population: usize,
    /// Generations after the first.
    pub generations: usize,
    /// Seconds after which the search begins no further trial; it goes on when it is called again.
    pub seconds: Option<f64>,
    /// Seed of everything random. The same seed gives the same front, however often the search was interrupted.
    pub seed: u64,
    /// The least agreement of interest, as a share: plans that agree less have few descendants.
    pub min_agreement: f64,
    /// Inputs on which agreement is measured, not those of calibration; without, half of these is held back.
    pub images: Option<Vec<Vec<Tensor>>>,
    /// Threads; 0: one per core.
    pub threads: usize,
}

impl Default for SearchOptions {
    /// Population and generations of AutoFHE, with children as many as parents.
    fn default() -> Self {
        Self { population: 20, generations: 10, seconds: None, seed: 0, min_agreement: 0.9, images: None, threads: 0 }
    }
}

/// Where a search keeps what it found out, and writes its front.
#[derive(Clone, Debug)]
pub struct SearchFolder {
    /// The folder; it is made where it is not there.
    pub path: PathBuf,
    /// Start over, and replace what is there.
    pub start_over: bool,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub struct SearchProgress {
    /// The generation under way, 0 for the plans of the planner's front.
    pub generation: usize,
    /// Plans looked at so far.
    pub done: usize,
    /// Plans to be looked at, unless fewer can be bred.
    pub total: usize,
}

/// A plan that was priced and tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchPoint {
    /// Predicted seconds of one run.
    pub seconds: f64,
    /// Agreement with the network as it was given, as [`Agreement::measured`](super::Agreement::measured).
    pub agreement: f64,
    /// The same as if errors were three times as large.
    pub agreement_enlarged: f64,
    /// Bootstraps.
    pub bootstraps: usize,
    /// The highest level of the program.
    pub levels: u32,
    /// The file of its forms in the search's folder; `fhec compile --forms` makes the plan of it.
    pub file: String,
    /// The form of every activation.
    pub forms: Vec<ActivationForm>,
}

/// The plans that are better in agreement than every faster one that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchFront {
    /// `fhec front`.
    pub format: &'static str,
    /// 1.
    pub version: u32,
    /// Name of the model.
    pub model: String,
    /// blake3 of its file, in hexadecimal.
    pub model_digest: String,
    /// Inputs on which agreement was measured. Polynomials and weights were fitted to others.
    pub images: usize,
    /// By strictly rising time and agreement.
    pub points: Vec<SearchPoint>,
    /// Plans of the planner's own front that were tried first, by rising time; their files are not written.
    pub seeds: Vec<SearchPoint>,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The front, as it is in the folder.
    pub front: SearchFront,
    /// Plans that were looked at, those of earlier calls among them.
    pub evaluated: usize,
    /// Plans that an interrupted search had looked at before.
    pub resumed: usize,
    /// The last generation that was finished.
    pub generations: usize,
    /// Whether all generations were finished, rather than the time was over.
    pub finished: bool,
    /// What the user should change.
    pub warnings: Vec<String>,
}

impl SearchOptions {
    fn check(&self) -> Result<(), Refused> {
        let value = |option, value: String, reason: &str, repair: &str| {
            Err(Refused::Value { option, value, reason: reason.into(), repair: repair.into() })
        };
        if self.population < 2 {
            return value("population", self.population.to_string(), "children have two parents", "give at least 2");
        }
        if !(0.0..=1.0).contains(&self.min_agreement) {
            let asked = (100.0 * self.min_agreement).to_string();
            return value("min-agreement", asked, "agreement is a share, at most 100 %", "leave it out");
        }
        if self.images.as_ref().is_some_and(Vec::is_empty) {
            return value("images", "none".into(), "agreement is measured on them", "give some hundred inputs");
        }
        Ok(())
    }
}

impl Compiler {
    /// Searches for plans of `model` that are fast and agree with it, and keeps in `folder` what it finds out, so that a search
    /// that was interrupted goes on. `observe` hears how far it is.
    ///
    /// # Errors
    /// A model that cannot be compiled, or has nothing to search for; fewer calibration inputs than trials take; a folder that
    /// cannot be written, or is of another search.
    pub fn search(
        &self,
        model: &Model,
        options: &SearchOptions,
        folder: &SearchFolder,
        observe: &mut (dyn FnMut(SearchProgress) + Send),
    ) -> Result<Searched, Error> {
        self.options.check(&model.module)?;
        options.check()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
        let pool = pool.map_err(|e| Error::Usage {
            reason: format!("{} threads cannot be started: {e}", options.threads),
            repair: "ask for fewer".into(),
        })?;
        pool.install(|| self.searched(model, options, folder, observe))
    }

    fn searched(
        &self,
        model: &Model,
        options: &SearchOptions,
        folder: &SearchFolder,
        observe: &mut (dyn FnMut(SearchProgress) + Send),
    ) -> Result<Searched, Error> {
        let started = Instant::now();
        let mut laps = Laps::start(self.cancelled.clone());
        let Prepared { folded, samples, approximate, mut warnings, .. } =
            self.prepared(model, &mut laps, &mut |_, _, _| ())?;
        self.searchable(&folded, &samples)?;
        let checkpoint = Checkpoint::open(folder, identity(model, options, &samples))?;
        warnings.extend(seen_twice(&samples, options.images.as_deref().unwrap_or_default()));
        let plan = self.asked_of_plans(&samples);
        let (network, given) = self.offered_network(&folded, &samples)?;
        let offer = Offer::new(&network, Request { samples: &samples, approximate: &approximate, plan: &plan })?;
        let few = &samples[..samples.len().min(SENSITIVITY_SAMPLES)];
        let offer = offer.weighed(&sensitivities(&network, few, self.options.results, &mut warnings));
        let [fitted, held] = match &options.images {
            Some(images) => [spread(&samples), images.clone()],
            None => halves(&samples),
        };
        laps.lap("offer")?;
        let planned = self.asked(&offer, &fastest(), Some(&Limits::default()))?.front;
        laps.lap("front")?;
        let trials = super::trials::Trials::new(self, &folded, &approximate, &fitted, &held)?;
        let landscape = Landscape::new(self, &offer, &given, &folded, trials);
        let planned: Vec<Genome> = planned.iter().map(|plan| landscape.genome(&plan.choices)).collect();
        let resumed = checkpoint.len();
        let mut run = Run {
            landscape,
            checkpoint,
            options,
            model,
            images: held.len(),
            started,
            laps,
            observe,
            progress: SearchProgress { generation: 0, done: 0, total: total(options, planned.len()) },
            found: Vec::new(),
            seeds: 0,
        };
        run.checkpoint.belongs("predicted times or errors", run.landscape.digest(&planned))?;
        run.checkpoint.save()?;
        let finished = match run.evolve(&planned) {
            Ok(()) => true,
            Err(Stop::Time) => false,
            Err(Stop::Failed(e)) => return Err(e),
        };
        let (front, evaluated) = (run.front(), run.progress.done);
        run.checkpoint.write_front(&front)?;
        let generations = run.progress.generation - usize::from(!finished && run.progress.generation > 0);
        Ok(Searched { front, evaluated, resumed, generations, finished, warnings })
    }

    /// Refuses what there is nothing to search for.
    fn searchable(&self, folded: &Module<Nn>, samples: &[Vec<Tensor>]) -> Result<(), Error> {
        if let Some(reason) = self.given(folded) {
            return Err(Error::Usage {
                reason: format!("there is nothing to search: {reason}"),
                repair: "compile the model with `fhec compile`".into(),
            });
        }
        if samples.len() < TRIAL_LEAST {
            return Err(Error::Usage {
                reason: format!("{} calibration inputs are too few to try polynomials on", samples.len()),
                repair: format!("give at least {TRIAL_LEAST} training inputs after --calibration"),
            });
        }
        Ok(())
    }
}

/// Why the search stops for now.
enum Stop {
    Time,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A search under way.
struct Run<'a, 'o> {
    landscape: Landscape<'a>,
    checkpoint: Checkpoint,
    options: &'a SearchOptions,
    model: &'a Model,
    /// Inputs on which agreement is measured.
    images: usize,
    started: Instant,
    laps: Laps,
    observe: &'o mut (dyn FnMut(SearchProgress) + Send),
    progress: SearchProgress,
    /// All plans so far, without repetitions; those of the planner's front first.
    found: Vec<Evaluated>,
    /// How many of them are of the planner's front.
    seeds: usize,
}

impl Run<'_, '_> {
    /// The first generation and all others. The front is written after each.
    fn evolve(&mut self, planned: &[Genome]) -> Result<(), Stop> {
        let mut asked = BTreeSet::new();
        self.first(planned, &mut asked)?;
        let mut population: Vec<(Genome, Score)> = self.found.iter().map(|e| (e.genome.clone(), e.score)).collect();
        for generation in 1..=self.options.generations {
            self.checkpoint.write_front(&self.front())?;
            self.progress.generation = generation;
            let children = self.generation(&population, &mut asked)?;
            population.extend(children);
            let scores: Vec<Score> = population.iter().map(|(_, score)| *score).collect();
            let kept = survivors(&scores, self.options.population, self.options.min_agreement);
            population = kept.into_iter().map(|i| population[i].clone()).collect();
        }
        Ok(())
    }

    /// Plans of the planner's front: its ends, and then always one in the middle of those two neighbours that leave most open, by
    /// the product of their distances in time and in agreement.
    fn first(&mut self, planned: &[Genome], asked: &mut BTreeSet<Genome>) -> Result<(), Stop> {
        let mut tried: Vec<(usize, Option<Score>)> = Vec::new();
        let mut next = (!planned.is_empty()).then_some(0);
        while let Some(number) = next.filter(|_| tried.len() < self.options.population) {
            asked.insert(planned[number].clone());
            let score = self.evaluate(planned[number].clone(), false)?.map(|e| e.score);
            self.seeds = self.found.len();
            let place = tried.partition_point(|(known, _)| *known < number);
            tried.insert(place, (number, score));
            next = match tried.last() {
                Some((last, _)) if *last + 1 < planned.len() => Some(planned.len() - 1),
                _ => widest(&tried, self.options.min_agreement),
            };
        }
        Ok(())
    }

    /// The children of one generation.
    fn generation(
        &mut self,
        population: &[(Genome, Score)],
        asked: &mut BTreeSet<Genome>,
    ) -> Result<Vec<(Genome, Score)>, Stop> {
        let forms = self.landscape.forms();
        let seed = (self.options.seed, self.progress.generation);
        let mut breeder = Breeder::new(seed, population, &forms, self.options.min_agreement);
        let mut children = Vec::new();
        if population.is_empty() {
            return Ok(children);
        }
        for _ in 0..self.options.population {
            let Some(child) = (0..BREEDINGS).map(|_| breeder.child()).find(|child| !asked.contains(child)) else {
                continue;
            };
            asked.insert(child.clone());
            let known = self.found.len();
            if let Some(child) = self.evaluate(child, true)?
                && self.found.len() > known
            {
                children.push((child.genome, child.score));
            }
        }
        Ok(children)
    }

    /// Prices and tries a plan, or finds what is known of it; nothing where levels run out.
    fn evaluate(&mut self, asked: Genome, complete: bool) -> Result<Option<Evaluated>, Stop> {
        self.laps.lap("search")?;
        let found = match self.checkpoint.answer(&asked) {
            Some(known) => known.clone(),
            None => {
                let elapsed = self.started.elapsed().as_secs_f64();
                if self.options.seconds.is_some_and(|most| elapsed >= most) {
                    return Err(Stop::Time);
                }
                let found =
                    self.landscape.evaluate(&asked, complete, |genome| self.checkpoint.tried(genome).cloned())?;
                self.checkpoint.keep(asked, found.clone())?;
                found
            }
        };
        if let Some(found) = &found
            && self.found.iter().all(|known| known.genome != found.genome)
        {
            self.found.push(found.clone());
        }
        self.progress.done += 1;
        (self.observe)(self.progress);
        Ok(found)
    }

    /// The front of all that was found.
    fn front(&self) -> SearchFront {
        let model = self.model;
        let point = |e: &Evaluated| {
            let forms = self.landscape.named(&e.genome);
            SearchPoint {
                seconds: e.score.seconds,
                agreement: e.score.agreement,
                agreement_enlarged: e.score.cautious,
                bootstraps: e.bootstraps,
                levels: e.levels,
                file: file_of(&Forms::new(model.digest.clone(), forms.clone())),
                forms,
            }
        };
        let scores: Vec<Score> = self.found.iter().map(|e| e.score).collect();
        let mut seeds: Vec<SearchPoint> = self.found[..self.seeds].iter().map(point).collect();
        seeds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        SearchFront {
            format: "fhec front",
            version: 1,
            model: model.module.func.name.clone(),
            model_digest: model.digest.clone(),
            images: self.images,
            points: front(&scores).into_iter().map(|i| point(&self.found[i])).collect(),
            seeds,
        }
    }
}

/// Plans that are looked at, where enough can be bred.
fn total(options: &SearchOptions, planned: usize) -> usize {
    options.population.min(planned) + options.generations * options.population
}

/// The plan in the middle of the two neighbours, of those tried, between which there are others and that are furthest apart: by the
/// product of their distances in time and in agreement, of which none counts below the `least`.
fn widest(tried: &[(usize, Option<Score>)], least: f64) -> Option<usize> {
    let open = |pair: &[(usize, Option<Score>)]| {
        let [(a, one), (b, other)] = [pair[0], pair[1]];
        let area = one.zip(other).map_or(0.0, |(one, other)| {
            (other.seconds - one.seconds).abs() * (other.agreement.max(least) - one.agreement.max(least)).abs()
        });
        (area, b - a)
    };
    let pairs = tried.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 1);
    let furthest = pairs.max_by(|a, b| {
        let ((one, steps), (other, more)) = (open(a), open(b));
        one.total_cmp(&other).then(steps.cmp(&more))
    });
    furthest.map(|pair| usize::midpoint(pair[0].0, pair[1].0))
}

/// What a search belongs to.
fn identity(model: &Model, options: &SearchOptions, samples: &[Vec<Tensor>]) -> Identity {
    let images = options.images.as_deref().map_or("those held back".into(), digest);
    [
        ("version of fhec", env!("CARGO_PKG_VERSION").to_string()),
        ("model", model.digest.clone()),
        ("calibration data", digest(samples)),
        ("set of images", images),
        ("population", options.population.to_string()),
        ("seed", options.seed.to_string()),
        ("least agreement", options.min_agreement.to_string()),
    ]
    .map(|(what, value)| (what.to_string(), value))
    .into()
}

/// blake3 of tensors, in hexadecimal.
fn digest(samples: &[Vec<Tensor>]) -> String {
    let mut hasher = blake3::Hasher::new();
    samples.iter().flatten().for_each(|tensor| hash(&mut hasher, tensor));
    hasher.finalize().to_hex().to_string()
}

fn hash(hasher: &mut blake3::Hasher, tensor: &Tensor) {
    for element in tensor.data() {
        hasher.update(&element.to_le_bytes());
    }
}

/// A warning where images are among the calibration inputs, to which polynomials are fitted.
fn seen_twice(samples: &[Vec<Tensor>], images: &[Vec<Tensor>]) -> Option<String> {
    let of = |image: &Vec<Tensor>| digest(std::slice::from_ref(image));
    let samples: BTreeSet<String> = samples.iter().map(of).collect();
    let twice = images.iter().filter(|image| samples.contains(&of(image))).count();
    (twice > 0).then(|| {
        format!(
            "{twice} of {} images are calibration inputs too: polynomials are fitted to these, so that agreement on them is \
             flattered; give images that were not used for calibration",
            images.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_gap_is_split_next() {
        let at = |number, seconds, agreement| (number, Some(Score { seconds, agreement, cautious: 0.0 }));
        let tried = [at(0, 1.0, 0.1), at(10, 5.0, 0.8), at(20, 6.0, 0.99)];
        assert_eq!(widest(&tried, 0.0), Some(5));
        assert_eq!(widest(&tried, 0.9), Some(15), "nothing is open below the least agreement");
        assert_eq!(widest(&[at(0, 1.0, 0.9), at(1, 2.0, 0.95)], 0.0), None);
        assert_eq!(widest(&[at(0, 1.0, 0.9)], 0.0), None);
        assert_eq!(widest(&[(0, None), at(3, 1.0, 0.9), at(9, 1.0, 0.9)], 0.0), Some(6), "of equal ones the longest");
    }

    #[test]
    fn images_of_the_calibration_are_told() {
        let image = |x: f32| vec![Tensor::new([1, 2], vec![x, 0.0])];
        let (samples, images) = ([image(0.0), image(1.0)], [image(1.0), image(2.0)]);
        assert!(seen_twice(&samples, &images).is_some_and(|w| w.starts_with("1 of 2 images")));
        assert_eq!(seen_twice(&samples, &images[1..]), None);
    }
}
