//! Counting what passed, and the summary at the end.

use std::time::Duration;

/// What a step counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Count {
    /// One check that passed, or did not.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// A step whose tests count themselves; one that fails without a failed test counts as a failure.
    pub(crate) fn or_failure(mut self, succeeded: bool) -> Self {
        if (!succeeded || self.passed == 0) && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads a closing line of libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn libtest(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let number = |word: &str| {
            let part = counts.split("; ").find_map(|part| part.strip_suffix(word))?;
            part.trim().parse().ok()
        };
        Some(Self { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
    }

    /// Reads a line of the project's own checks: `ok NAME`, `FAILED NAME: why` or `skipped NAME: why`.
    pub(crate) fn check(line: &str) -> Self {
        let is = |word| line.split_once(' ').is_some_and(|(first, _)| first == word);
        Self { passed: is("ok").into(), failed: is("FAILED").into(), skipped: is("skipped").into() }
    }
}

/// What the steps did, one after another.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(&'static str, Count, Duration)>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &'static str, count: Count, took: Duration) {
        self.steps.push((name, count, took));
    }

    /// Prints the summary. True if nothing failed and something passed.
    pub(crate) fn print(&self) -> bool {
        let mut total = Count::default();
        println!("\n{:<10} {:>7} {:>7} {:>8} {:>8}", "step", "passed", "failed", "skipped", "seconds");
        for (name, count, took) in &self.steps {
            let Count { passed, failed, skipped } = count;
            println!("{name:<10} {passed:>7} {failed:>7} {skipped:>8} {:>8}", took.as_secs());
            total.add(*count);
        }
        println!("\n{} passed, {} failed", total.passed, total.failed);
        total.failed == 0 && total.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: Count) -> [usize; 3] {
        [count.passed, count.failed, count.skipped]
    }

    #[test]
    fn counts_what_libtest_says() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.1s";
        assert_eq!(Count::libtest(line).map(numbers), Some([3, 2, 1]));
        assert!(Count::libtest("test a ... ok").is_none());
    }

    #[test]
    fn counts_checks() {
        for (line, expected) in [
            ("ok attach by usbip", [1, 0, 0]),
            ("FAILED attach: no device", [0, 1, 0]),
            ("skipped resident: needs a PIN", [0, 0, 1]),
            ("okay", [0, 0, 0]),
            ("2 passed, 1 failed, 0 skipped", [0, 0, 0]),
        ] {
            assert_eq!(numbers(Count::check(line)), expected, "{line}");
        }
    }

    #[test]
    fn a_step_that_ran_nothing_has_failed() {
        assert_eq!(numbers(Count::default().or_failure(true)), [0, 1, 0]);
        assert_eq!(numbers(Count::one(true).or_failure(false)), [1, 1, 0]);
        assert_eq!(numbers(Count::one(true).or_failure(true)), [1, 0, 0]);
    }
}
