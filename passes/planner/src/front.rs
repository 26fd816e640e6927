//! Pareto sets of (time, error).

/// A partial plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PartialPlan {
    pub us: f64,
    pub error: f64,
    pub trace: u32,
}

/// Labels none of which dominates another: by rising time, falling error.
pub(super) type Front = Vec<PartialPlan>;

/// Two sets to be added, and the time that every sum costs besides.
pub(super) type Pair<'f> = (&'f [PartialPlan], &'f [PartialPlan], f64);

/// A sum of two labels before it is noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub us: f64,
    pub error: f64,
    /// Which pair.
    pub list: u32,
    pub a: u32,
    pub b: u32,
}

/// Sums of the same errors in another order differ by rounding; a label must be better by more than that.
const ROUNDING: f64 = 1e-12;
/// Cells at most; more are not worth their memory.
const MAX_CELLS: f64 = (1u32 << 20) as f64;

/// Whether `error` improves on the last label of a front under construction.
pub(super) fn better(last: Option<&PartialPlan>, error: f64) -> bool {
    last.is_none_or(|l| error < l.error * (1.0 - ROUNDING))
}

/// The Pareto set of all admitted sums. With `cell` > 0, of the sums within one cell of time only the one of least error
/// is considered; the second value tells whether that happened.
pub(super) fn sweep(pairs: &[Pair<'_>], cell: f64, admit: impl Fn(f64, f64) -> bool) -> (Vec<Raw>, bool) {
    let ends = pairs.iter().filter_map(|(a, b, us)| {
        let (first, last) = (a.first()?.us + b.first()?.us, a.last()?.us + b.last()?.us);
        Some((first + us, last + us))
    });
    let (low, high) = ends.fold((f64::INFINITY, 0.0f64), |r, e| (r.0.min(e.0), r.1.max(e.1)));
    if low > high {
        return (Vec::new(), false);
    }
    let cells = (high - low) / cell;
    let sums = || {
        pairs.iter().enumerate().flat_map(|(list, (a, b, us))| {
            a.iter().flat_map(move |x| {
                b.iter().map(move |y| Raw {
                    us: x.us + y.us + us,
                    error: x.error + y.error,
                    list: list as u32,
                    a: x.trace,
                    b: y.trace,
                })
            })
        })
    };
    let by_time = |x: &Raw, y: &Raw| (x.us, x.error).partial_cmp(&(y.us, y.error)).unwrap_or(std::cmp::Ordering::Equal);
    let thinned = cell > 0.0 && cells < MAX_CELLS;
    let all: Vec<Raw> = if thinned {
        let mut best: Vec<Option<Raw>> = vec![None; cells as usize + 1];
        for raw in sums().filter(|r| admit(r.us, r.error)) {
            let slot = &mut best[((raw.us - low) / cell) as usize];
            if slot.is_none_or(|s| (raw.error, raw.us) < (s.error, s.us)) {
                *slot = Some(raw);
            }
        }
        best.into_iter().flatten().collect()
    } else {
        let mut all: Vec<Raw> = sums().filter(|r| admit(r.us, r.error)).collect();
        all.sort_by(by_time);
        all
    };
    let mut out: Vec<Raw> = Vec::new();
    for raw in all {
        if out.last().is_none_or(|l| raw.error < l.error * (1.0 - ROUNDING)) {
            out.push(raw);
        }
    }
    (out, thinned)
}

/// One label per cell of time, the one of least error.
pub(super) fn thin(front: &[Raw], cell: f64) -> Vec<Raw> {
    let start = front.first().map_or(0.0, |l| l.us);
    let number = |l: &Raw| ((l.us - start) / cell) as u64;
    let mut out: Vec<Raw> = Vec::new();
    for &label in front {
        match out.last_mut() {
            Some(last) if number(last) == number(&label) => *last = label,
            _ => out.push(label),
        }
    }
    out
}
