//! Lists the classes of the highest scores.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use fhec::ir::Port;
use fhec::{Error, Tensor};
use serde::Serialize;

use super::files;

/// Asks for the classes of the highest scores.
#[derive(Args)]
pub struct Top {
    /// Print the classes of the N highest scores of each image
    #[arg(long, value_name = "N")]
    top: Option<NonZeroUsize>,
    /// Names of the classes, a line of text each, in the order of the scores
    #[arg(long, value_name = "FILE", value_parser = files::input(), requires = "top")]
    pub names: Option<PathBuf>,
}

/// A class and its score.
#[derive(Debug, PartialEq, Serialize)]
pub struct Class {
    /// Index of the score.
    class: usize,
    score: f32,
    /// Absent without names.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The best classes of one output of an image.
#[derive(Debug, PartialEq, Serialize)]
pub struct BestScore {
    /// From 0.
    image: usize,
    output: String,
    /// The highest score first.
    classes: Vec<Class>,
}

impl fmt::Display for BestScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}, {}:", self.image, self.output)?;
        for (i, Class { class, score, name }) in self.classes.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match name {
                Some(name) => write!(f, "{comma} {name} ({class}) {score:.4}")?,
                None => write!(f, "{comma} {class} {score:.4}")?,
            }
        }
        Ok(())
    }
}

impl Top {
    /// Whether any are asked for.
    pub fn is_asked(&self) -> bool {
        self.top.is_some()
    }

    /// The best classes of all outputs of every image; none where none are asked for.
    ///
    /// # Errors
    /// A file of names that cannot be read, or has not one name for every score.
    pub fn of(&self, ports: &[Port], images: &[Vec<Tensor>]) -> Result<Vec<BestScore>, Error> {
        let Some(top) = self.top else { return Ok(Vec::new()) };
        let names = self.read_names(ports)?;
        let name = |class: usize| names.as_ref().and_then(|names| names.get(class).cloned());
        let best = |(image, tensors): (usize, &Vec<Tensor>)| -> Vec<BestScore> {
            let of = |(port, tensor): (&Port, &Tensor)| {
                let class = |(class, score)| Class { class, score, name: name(class) };
                let classes = highest(tensor.data(), top.get()).into_iter().map(class).collect();
                BestScore { image, output: port.name.clone(), classes }
            };
            ports.iter().zip(tensors).map(of).collect()
        };
        Ok(images.iter().enumerate().flat_map(best).collect())
    }

    fn read_names(&self, ports: &[Port]) -> Result<Option<Vec<String>>, Error> {
        let Some(path) = &self.names else { return Ok(None) };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { file: file.clone(), source })?;
        let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
        match ports.iter().find(|port| port.shape.len() != names.len()) {
            None => Ok(Some(names)),
            Some(port) => Err(Error::Usage {
                reason: format!("{file}: {} names for the {} scores of `{}`", names.len(), port.shape.len(), port.name),
                repair: "give one name per score, a line each".into(),
            }),
        }
    }
}

/// The `count` highest scores with their indices, the highest first, the first of equal ones first; what is no number comes
/// last.
fn highest(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    all.sort_by(|a, b| a.1.is_nan().cmp(&b.1.is_nan()).then(b.1.total_cmp(&a.1)));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_scores_come_first_and_no_number_last() {
        let scores = [0.5, f32::NAN, 2.0, -1.0, 2.0, -f32::NAN];
        let classes = |count| highest(&scores, count).into_iter().map(|(class, _)| class).collect::<Vec<_>>();
        assert_eq!(classes(3), [2, 4, 0]);
        assert_eq!(classes(4), [2, 4, 0, 3]);
        assert_eq!(classes(10).len(), 6);
        let best = BestScore {
            image: 0,
            output: "y".into(),
            classes: vec![
                Class { class: 2, score: 1.5, name: Some("cat".into()) },
                Class { class: 0, score: -0.25, name: None },
            ],
        };
        assert_eq!(best.to_string(), "image 0, y: cat (2) 1.5000, 0 -0.2500");
    }
}
