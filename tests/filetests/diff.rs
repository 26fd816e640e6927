//! What changed between two texts.

/// Lines around a change that are shown.
const CONTEXT: usize = 2;

/// The changed lines, `-` those expected and `+` those found, with the lines around them.
pub fn lines(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (ra, rb) = (&a[start..], &b[start..]);
    let end = ra.iter().rev().zip(rb.iter().rev()).take_while(|(x, y)| x == y).count();
    let (ma, mb) = (&ra[..ra.len() - end], &rb[..rb.len() - end]);
    let mut out: Vec<String> = a[start.saturating_sub(CONTEXT)..start].iter().map(|l| format!("  {l}")).collect();
    out.extend(changed(ma, mb));
    out.extend(ra[ra.len() - end..].iter().take(CONTEXT).map(|l| format!("  {l}")));
    out.insert(0, format!("@@ line {}", start + 1));
    out.join("\n")
}

/// The shortest edit from `a` to `b`, by the longest common subsequence.
fn changed(a: &[&str], b: &[&str]) -> Vec<String> {
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j < b.len() && (i == a.len() || common[i][j + 1] > common[i + 1][j]) {
            out.push(format!("+ {}", b[j]));
            j += 1;
        } else {
            out.push(format!("- {}", a[i]));
            i += 1;
        }
    }
    out
}
