//! A file test as text: run lines, a program with annotated errors, expected outcomes.

use super::outcome::{Complaint, Outcome};

const RUN: &str = "// run: ";
const ERROR: &str = "// error: ";
const EXPECTED: &str = "// expected from ";

/// A file test without what is expected of it.
pub struct Case {
    /// What stands after each `// run: `.
    pub runs: Vec<String>,
    /// The text up to the first outcome, without annotations.
    pub input: String,
}

impl Case {
    pub fn read(name: &str, text: &str) -> Self {
        let own = |line: &&str| !line.trim_start().starts_with(ERROR.trim_end());
        let lines = text.lines().take_while(|line| !line.starts_with(EXPECTED)).filter(own);
        let lines: Vec<&str> = lines.map(|line| line.split(ERROR).next().unwrap_or(line).trim_end()).collect();
        let runs: Vec<String> = lines.iter().filter_map(|line| line.strip_prefix(RUN)).map(str::to_string).collect();
        assert!(!runs.is_empty(), "{name} has no line that begins with `{RUN}`");
        Self { runs, input: format!("{}\n", lines.join("\n").trim_end()) }
    }

    /// The file that expects these outcomes: errors on their lines, programs below the input.
    pub fn with(&self, outcomes: &[Outcome]) -> String {
        let mut complaints: Vec<&Complaint> = Vec::new();
        for complaint in outcomes.iter().flat_map(|outcome| &outcome.complaints) {
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
        }
        let lines: Vec<&str> = self.input.lines().collect();
        let last_run = lines.iter().rposition(|line| line.starts_with(RUN)).unwrap_or(0);
        let mut out = String::new();
        for (number, line) in lines.iter().enumerate() {
            out.push_str(line);
            for complaint in complaints.iter().filter(|c| c.line == Some(number)) {
                out.push_str(&format!("  {ERROR}{}", complaint.message));
            }
            out.push('\n');
            if number == last_run {
                for complaint in complaints.iter().filter(|c| c.line.is_none()) {
                    out.push_str(&format!("{ERROR}{}\n", complaint.message));
                }
            }
        }
        for (run, outcome) in self.runs.iter().zip(outcomes) {
            let Some(shown) = &outcome.shown else { continue };
            out.push_str(&format!("\n{EXPECTED}{run}:\n"));
            for line in shown.trim_end().lines() {
                out.push_str(format!("// {line}").trim_end());
                out.push('\n');
            }
        }
        out
    }
}
