//! A program that verifies computes without overflow and finds every sum in its table.

use std::collections::HashSet;

use fhec_ir::Port;

use crate::error::ProgramError;
use crate::program::{Program, Quantiser, Tables};
use crate::sums::Sums;

/// The largest integer that a quantiser or a table may give: far more than any scheme holds.
const MOST: u32 = 1 << 24;
/// The most elements of an input or output, and of all inputs together: a file of a few bytes may name them.
const MOST_ELEMENTS: usize = 1 << 22;
/// The most columns of all sums together, for the same reason.
const MOST_COLUMNS: usize = 1 << 28;

impl Program {
    /// Checks that every reference is to something defined before, and that each table has an entry for every value that its
    /// sums can take, whatever the inputs.
    ///
    /// # Errors
    /// The first defect.
    pub fn verify(&self) -> Result<(), ProgramError> {
        let mut known: Vec<(usize, u32)> = Vec::with_capacity(self.tensors());
        for input in &self.inputs {
            check_port(&input.port)?;
            input
                .quantiser
                .check()
                .map_err(|reason| ProgramError::new(format!("input `{}`", input.port.name), reason))?;
            known.push((input.port.shape.len(), input.quantiser.top));
        }
        if known.iter().map(|(len, _)| len).sum::<usize>() > MOST_ELEMENTS {
            return Err(ProgramError::new(
                "the program",
                format!("its inputs have more than {MOST_ELEMENTS} elements"),
            ));
        }
        let mut columns = 0;
        for layer in &self.layers {
            let place = |reason: String| ProgramError::new(format!("layer `{}`", layer.node), reason);
            let tops = check_sums(&layer.sums, &known, &mut columns).map_err(place)?;
            check_tables(&layer.tables, &layer.sums, &tops).map_err(place)?;
            known.push((layer.sums.rows(), layer.top()));
        }
        let mut names = HashSet::new();
        for output in &self.outputs {
            let place = |reason: String| ProgramError::new(format!("output `{}`", output.port.name), reason);
            if !names.insert(&output.port.name) {
                return Err(place("another output has its name".into()));
            }
            let tops = check_sums(&output.sums, &known, &mut columns).map_err(place)?;
            let rows = output.sums.rows();
            (0..rows)
                .try_for_each(|r| output.sums.bounds(r, |c| tops[c]).map(drop))
                .map_err(|e| place(e.to_string()))?;
            check_port(&output.port)?;
            if output.port.shape.len() != rows || output.scale.len() != rows || output.shift.len() != rows {
                let shape = &output.port.shape;
                return Err(place(format!(
                    "{rows} sums, of which each has a scale and a shift, are no tensor {shape}"
                )));
            }
            if !output.scale.iter().chain(&output.shift).all(|x| x.is_finite()) {
                return Err(place("a scale or shift is not finite".into()));
            }
        }
        if self.inputs.is_empty() || self.outputs.is_empty() {
            return Err(ProgramError::new("the program", "it has no input or no output"));
        }
        Ok(())
    }
}

impl Quantiser {
    /// Checks that its numbers are finite, in order and few.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        let Self { zero, step, top } = *self;
        if !(1..=MOST).contains(&top) {
            return Err(format!("integers up to {top} are impossible: it is from 1 to {MOST}"));
        }
        if !zero.0.is_finite() || !step.0.is_finite() || step.0 <= 0.0 {
            return Err(format!("steps of {} from {} are impossible", step.0, zero.0));
        }
        Ok(())
    }
}

/// Checks that a port of a file has a shape that a tensor can have, a range in order, and heads that fit it.
///
/// # Errors
/// The first that it does not have.
pub fn check_port(port: &Port) -> Result<(), ProgramError> {
    let defect = |reason: String| Err(ProgramError::new(format!("`{}`", port.name), reason));
    if !port.shape.checked_len().is_some_and(|len| (1..=MOST_ELEMENTS).contains(&len)) {
        return defect(format!("no tensor of a program has shape {}", port.shape));
    }
    if port.layout.is_some() || port.range.is_some_and(|range| !range.is_ordered()) {
        return defect("it has a layout in slots, or a range out of order".into());
    }
    match port.headed() {
        Ok(_) => Ok(()),
        Err(e) => defect(e.to_string()),
    }
}

/// Checks sums over tensors of which elements and largest integer are known; the largest integer of every column.
fn check_sums(sums: &Sums, known: &[(usize, u32)], columns: &mut usize) -> Result<Vec<u32>, String> {
    if !sums.operands.is_sorted_by(|a, b| a < b) {
        return Err("its operands are not in order, each once".into());
    }
    for &operand in &sums.operands {
        let &(len, _) =
            known.get(operand).ok_or_else(|| format!("it reads tensor {operand}, which is not there yet"))?;
        *columns += len;
        if *columns > MOST_COLUMNS {
            return Err(format!("sums up to it have more than {MOST_COLUMNS} columns"));
        }
    }
    let tops = sums.spread(|t| known[t]);
    let entries = sums.columns.len();
    let ordered = sums.starts.is_sorted() && sums.starts.first() == Some(&0);
    if !ordered || sums.starts.last().map(|&end| end as usize) != Some(entries) || sums.weights.len() != entries {
        return Err(format!("the rows do not divide {entries} columns and {} weights", sums.weights.len()));
    }
    for r in 0..sums.rows() {
        let columns = &sums.columns[sums.starts[r] as usize..sums.starts[r + 1] as usize];
        if !columns.is_sorted_by(|a, b| a < b) || columns.last().is_some_and(|&c| c as usize >= tops.len()) {
            return Err(format!("row {r} reads columns out of order, or beyond the {} that there are", tops.len()));
        }
    }
    Ok(tops)
}

fn check_tables(tables: &Tables, sums: &Sums, tops: &[u32]) -> Result<(), String> {
    if tables.of.len() != sums.rows() {
        return Err(format!("{} rows have a table, there are {}", tables.of.len(), sums.rows()));
    }
    if let Some(top) = tables.tables.iter().map(|t| t.top()).find(|&top| top > MOST) {
        return Err(format!("a table gives {top}, at most {MOST} is possible"));
    }
    for (row, &of) in tables.of.iter().enumerate() {
        let table =
            tables.tables.get(of as usize).ok_or_else(|| format!("row {row} has table {of}, which is not there"))?;
        let (low, high) = sums.bounds(row, |c| tops[c]).map_err(|e| e.to_string())?;
        if table.at(low).is_none() || table.at(high).is_none() {
            return Err(format!("sum {row} lies between {low} and {high}, for which its table has not all entries"));
        }
    }
    Ok(())
}
