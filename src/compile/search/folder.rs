//! The folder of a search: the checkpoint from which an interrupted search goes on, the front, and the forms of its points.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fhec_files::Destination;
use serde::{Deserialize, Serialize};

use super::evolve::{Genome, Score};
use super::{SearchFolder, SearchFront};
use crate::compile::Forms;
use crate::error::Error;

/// What tells a checkpoint from other JSON.
const FORMAT: &str = "fhec search checkpoint";
/// The version of its form.
const VERSION: u32 = 1;
/// Its name.
const CHECKPOINT: &str = "checkpoint.json";
/// The name of the front.
pub(super) const FRONT: &str = "front.json";
/// How the names of files of forms begin.
const FORMS: &str = "forms-";

/// What a search belongs to: it goes on only where all of this is the same.
pub(super) type Identity = BTreeMap<String, String>;

/// A plan that was priced and tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evaluated {
    /// Its forms.
    pub(super) genome: Genome,
    /// How good it is.
    pub(super) score: Score,
    /// Its bootstraps.
    pub(super) bootstraps: usize,
    /// The highest level of its program.
    pub(super) levels: u32,
}

/// What was asked about, and what was found; nothing where levels run out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    asked: Genome,
    found: Option<Evaluated>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: u32,
    search: Identity,
    answers: Vec<Answer>,
}

/// All that a search has found out so far, kept in its folder.
pub(super) struct Checkpoint {
    folder: PathBuf,
    identity: Identity,
    answers: BTreeMap<Genome, Option<Evaluated>>,
}

impl Checkpoint {
    /// The checkpoint of the folder, which is made where it is not there. Nothing in it is changed yet.
    ///
    /// # Errors
    /// A folder that cannot be made or read, one with files of others or of another search: then with what differs.
    pub(super) fn open(folder: &SearchFolder, identity: Identity) -> Result<Self, Error> {
        let SearchFolder { path, start_over } = folder;
        let io = |source| Error::File { file: path.display().to_string(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let mut found = Self { folder: path.clone(), identity, answers: BTreeMap::new() };
        Destination::new(found.path(CHECKPOINT)).check()?;
        if *start_over {
            return Ok(found);
        }
        match std::fs::read_to_string(found.path(CHECKPOINT)) {
            Ok(text) => found.answers = found.read(&text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => found.is_free()?,
            Err(source) => return Err(Error::File { file: found.path(CHECKPOINT).display().to_string(), source }),
        }
        Ok(found)
    }

    /// Refuses to go on where one more thing that a search belongs to differs.
    ///
    /// # Errors
    /// A search that has begun with another `value`.
    pub(super) fn belongs(&mut self, what: &str, value: String) -> Result<(), Error> {
        match self.identity.get(what) {
            Some(known) if *known != value => Err(self.other(&format!("its {what} differ"))),
            _ => {
                self.identity.insert(what.into(), value);
                Ok(())
            }
        }
    }

    /// Refuses files that are not of a search.
    fn is_free(&self) -> Result<(), Error> {
        let io = |source| Error::File { file: self.folder.display().to_string(), source };
        for entry in std::fs::read_dir(&self.folder).map_err(io)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == FRONT || (name.starts_with(FORMS) && name.ends_with(".json")) {
                Destination::new(entry.path()).keeping().check()?;
            }
        }
        Ok(())
    }

    /// The answers of a checkpoint of the same search.
    fn read(&mut self, text: &str) -> Result<BTreeMap<Genome, Option<Evaluated>>, Error> {
        let written: Written = serde_json::from_str(text)
            .map_err(|e| self.other(&format!("it holds no checkpoint of this version: {e}")))?;
        if (written.format.as_str(), written.version) != (FORMAT, VERSION) {
            return Err(self.other("it holds no checkpoint of this version"));
        }
        for (what, value) in &self.identity {
            match written.search.get(what) {
                Some(theirs) if theirs == value => {}
                // Hashes tell nobody anything.
                Some(theirs) if theirs.len() < 16 => {
                    return Err(self.other(&format!("its {what} is {theirs}, not {value}")));
                }
                _ => return Err(self.other(&format!("its {what} differs"))),
            }
        }
        self.identity = written.search;
        Ok(written.answers.into_iter().map(|answer| (answer.asked, answer.found)).collect())
    }

    fn other(&self, reason: &str) -> Error {
        Error::Usage {
            reason: format!("{} is of another search: {reason}", self.path(CHECKPOINT).display()),
            repair: "give another folder after --output, or start over in this one with --force".into(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Answers that are known.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// What was found about a genome, if it was asked about.
    pub(super) fn answer(&self, asked: &Genome) -> Option<&Option<Evaluated>> {
        self.answers.get(asked)
    }

    /// What is known of these forms, whatever was asked.
    pub(super) fn tried(&self, genome: &Genome) -> Option<&Evaluated> {
        self.answers.values().flatten().find(|e| e.genome == *genome)
    }

    /// Adds an answer, and keeps all of them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn keep(&mut self, asked: Genome, found: Option<Evaluated>) -> Result<(), Error> {
        self.answers.insert(asked, found);
        self.save()
    }

    /// Writes the checkpoint: from now on the folder is that of this search.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&self) -> Result<(), Error> {
        let answers = self.answers.iter();
        let written = Written {
            format: FORMAT.into(),
            version: VERSION,
            search: self.identity.clone(),
            answers: answers.map(|(asked, found)| Answer { asked: asked.clone(), found: found.clone() }).collect(),
        };
        let text = serde_json::to_string(&written).unwrap_or_default();
        Ok(Destination::new(self.path(CHECKPOINT)).write(text.as_bytes())?)
    }

    /// Writes the front and the forms of its points, named by what they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn write_front(&self, front: &SearchFront) -> Result<(), Error> {
        for point in &front.points {
            let forms = Forms::new(front.model_digest.clone(), point.forms.clone());
            Destination::new(self.path(&point.file)).write(forms.to_json().as_bytes())?;
        }
        let text = serde_json::to_string_pretty(front).unwrap_or_default();
        Ok(Destination::new(self.path(FRONT)).write(text.as_bytes())?)
    }
}

/// The name of the file of these forms.
pub(super) fn file_of(forms: &Forms) -> String {
    let digest = blake3::hash(forms.to_json().as_bytes()).to_hex();
    format!("{FORMS}{}.json", &digest.as_str()[..12])
}
