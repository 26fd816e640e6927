//! Evaluation keys by the level they are made for.

use std::collections::BTreeMap;

use super::super::markup::{Text, put};
use super::super::prediction::Key;
use super::super::units::bytes;
use super::{HEIGHT, Mark, Plot, WIDTH, byte_marks};

/// What keys are for: the class, the word, and how their names begin.
pub const KINDS: [(&str, &str, &str); 3] =
    [("linear", "Rotations", "rotation"), ("polynomial", "Relinearisation", "relin"), ("bootstrap", "Others", "")];

fn kind(key: &Key) -> usize {
    KINDS.iter().position(|(_, _, start)| key.name.starts_with(start)).unwrap_or(KINDS.len() - 1)
}

/// The class, the word, the number and the bytes of the kinds that there are.
pub fn key_kinds(keys: &[Key]) -> Vec<(&'static str, &'static str, usize, u64)> {
    let of = |(index, (class, name, _)): (usize, &(&'static str, &'static str, &str))| {
        let own = || keys.iter().filter(|key| kind(key) == index);
        (*class, *name, own().count(), own().map(|key| key.bytes).sum())
    };
    KINDS.iter().enumerate().map(of).filter(|(_, _, count, _)| *count > 0).collect()
}

/// The bytes of the keys of every level.
pub fn keys(keys: &[Key]) -> String {
    let mut levels: BTreeMap<usize, [(u64, u64); KINDS.len()]> = BTreeMap::new();
    for key in keys {
        let (count, bytes) = &mut levels.entry(key.level).or_default()[kind(key)];
        *count += 1;
        *bytes += key.bytes;
    }
    let highest = levels.keys().last().copied().unwrap_or(0);
    let total = |kinds: &[(u64, u64)]| kinds.iter().map(|(_, bytes)| *bytes).sum::<u64>();
    let most = levels.values().map(|kinds| total(kinds)).max().unwrap_or(1).max(1) as f64 * 1.06;
    let column = 1.0 / (highest + 1) as f64;
    let centre = |level: usize| (level as f64 + 0.5) * column;
    let every = highest.div_ceil(14).max(1);
    let plot = Plot {
        class: "keys",
        label: "Bytes of the evaluation keys by level; the list below has every key".into(),
        y: byte_marks(most, 4.0),
        x: (0..=highest).step_by(every).map(|l| Mark { at: centre(l), label: l.to_string() }).collect(),
        titles: ["in the file", "level →"],
    };
    let mut drawing = String::new();
    for (level, kinds) in &levels {
        let (left, width) = ((centre(*level) - column * 0.36) * WIDTH, column * 0.72 * WIDTH);
        let mut below = 0.0;
        for ((class, name, _), (count, size)) in KINDS.iter().zip(kinds).filter(|(_, (count, _))| *count > 0) {
            let height = *size as f64 / most * HEIGHT;
            below += height;
            let tip = format!("Level {level}\n{name}: {count} in {}", bytes(*size));
            let (top, tip) = (HEIGHT - below, Text(&tip));
            put!(
                drawing,
                r#"<rect class="span {class}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" data-tip="{tip}"/>"#
            );
        }
    }
    plot.with(&drawing, "")
}
