//! Numbers: limits and multiples, in exact arithmetic where JSON has it.

use serde_json::{Number, Value};

use crate::data::random::Rng;

/// Past this magnitude not every whole number has a JSON form that every reader keeps (RFC 8259, section 6).
const SAFE: i128 = (1 << 53) - 1;

/// One end of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    pub(crate) number: f64,
    /// The same as a whole number, where it is one.
    pub(crate) whole: Option<i128>,
    pub(crate) exclusive: bool,
    /// The keyword it comes from: `minimum`, `exclusiveMaximum`, `format` …
    pub(crate) keyword: &'static str,
}

/// What a number must be.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberRule {
    pub(crate) low: Option<Bound>,
    pub(crate) high: Option<Bound>,
    /// All values are multiples of this fraction, in lowest terms.
    pub(crate) step: Option<(i128, i128)>,
}

impl Bound {
    pub(crate) fn new(value: &Value, exclusive: bool, keyword: &'static str) -> Option<Bound> {
        let number = value.as_f64()?;
        let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        // Whole numbers written as floats; beyond 2^100 only the float is kept.
        let whole = whole.or_else(|| (number.fract() == 0.0 && number.abs() < 1e30).then_some(number as i128));
        Some(Bound { number, whole, exclusive, keyword })
    }
}

impl Bound {
    /// Whether it is the end of an integer type.
    fn is_natural(&self) -> bool {
        const ENDS: [i128; 6] = [
            i32::MIN as i128,
            i32::MAX as i128,
            i64::MIN as i128,
            i64::MAX as i128,
            u32::MAX as i128,
            u64::MAX as i128,
        ];
        self.whole.is_some_and(|whole| ENDS.contains(&whole))
    }
}

impl NumberRule {
    /// Adds a lower end.
    pub(crate) fn at_least(&mut self, bound: Bound) {
        let tighter = self.low.is_none_or(|low| {
            bound.number > low.number || (bound.number == low.number && bound.exclusive && !low.exclusive)
        });
        if tighter {
            self.low = Some(bound);
        }
    }

    /// Adds an upper end.
    pub(crate) fn at_most(&mut self, bound: Bound) {
        let tighter = self.high.is_none_or(|high| {
            bound.number < high.number || (bound.number == high.number && bound.exclusive && !high.exclusive)
        });
        if tighter {
            self.high = Some(bound);
        }
    }

    /// Adds a `multipleOf`; false if it cannot be worked with.
    pub(crate) fn multiple_of(&mut self, value: &Value) -> bool {
        let Some((num, den)) = fraction(value) else { return false };
        self.step = match self.step {
            None => Some((num, den)),
            // lcm(a/b, c/d) = lcm(a, c) / gcd(b, d) for fractions in lowest terms.
            Some((a, b)) => match (a / gcd(a, num)).checked_mul(num) {
                Some(lcm) => Some((lcm, gcd(b, den))),
                None => return false,
            },
        };
        true
    }

    /// The whole numbers between the ends: first, last, step.
    fn whole_range(&self) -> Option<(i128, i128, i128)> {
        let step = self.step.map_or(1, |(num, _)| num);
        let low = match self.low {
            None => i128::MIN / 4,
            Some(Bound { whole: Some(whole), exclusive, .. }) => whole + i128::from(exclusive),
            Some(bound) => bound.number.ceil() as i128,
        };
        let high = match self.high {
            None => i128::MAX / 4,
            Some(Bound { whole: Some(whole), exclusive, .. }) => whole - i128::from(exclusive),
            Some(bound) => bound.number.floor() as i128,
        };
        let first = low.div_euclid(step) + i128::from(low.rem_euclid(step) != 0);
        let last = high.div_euclid(step);
        // JSON numbers of serde_json end at the 64-bit integers.
        let first = first.max(i128::from(i64::MIN) / step);
        let last = last.min(i128::from(u64::MAX) / step);
        (first <= last).then_some((first, last, step))
    }

    /// A whole number.
    pub(crate) fn whole(&self, rng: &mut Rng) -> Option<Value> {
        let (first, last, step) = self.whole_range()?;
        // Readers disagree about numbers past 2^53, so values stay on this side unless the limits forbid it.
        let (safe_first, safe_last) = (first.max(-SAFE / step), last.min(SAFE / step));
        let (first, last) = if safe_first <= safe_last { (safe_first, safe_last) } else { (first, last) };
        let origin = 0.clamp(first, last);
        let near = |rng: &mut Rng, reach: i128| {
            rng.between(first.max(origin.saturating_sub(reach)), last.min(origin.saturating_add(reach)))
        };
        // The range of an integer type is no limit that anybody chose.
        let chosen = |bound: Option<Bound>| bound.filter(|bound| !bound.is_natural());
        let (low, high) = (chosen(self.low), chosen(self.high));
        let pick = match rng.below(100) {
            0..4 if low.is_some() => first,
            4..8 if high.is_some() => last,
            8 if self.low.is_some() => first,
            9 if self.high.is_some() => last,
            _ if low.is_some() && high.is_some() && last - first < 100_000 => rng.between(first, last),
            10..65 => {
                let near = near(rng, 100);
                if low.is_none() && near < 0 && last >= 0 { (-near).min(last) } else { near }
            }
            65..78 => near(rng, 100),
            78..95 => near(rng, 10_000),
            _ => near(rng, 1_000_000_000),
        };
        whole_value(pick * step)
    }

    /// A number that is not whole.
    pub(crate) fn broken(&self, rng: &mut Rng) -> Option<Value> {
        if let Some((num, den)) = self.step {
            if den == 1 {
                return None;
            }
            let unit = num as f64 / den as f64;
            let (low, high) = self.window(unit * 1000.0);
            let (first, last) = ((low / unit).ceil() as i128, (high / unit).floor() as i128);
            for _ in 0..16 {
                let k = rng.between(first, last);
                let value = (k * num) as f64 / den as f64;
                if value.fract() != 0.0 && self.admits(value) {
                    return Number::from_f64(value).map(Value::Number);
                }
            }
            return None;
        }
        let (low, high) = self.window(1000.0);
        for _ in 0..16 {
            // Two decimals where there is room for them: everybody reads those alike.
            let value = if high - low >= 0.05 {
                rng.between((low * 100.0).ceil() as i128, (high * 100.0).floor() as i128) as f64 / 100.0
            } else {
                low + (high - low) * (rng.next() >> 11) as f64 / (1u64 << 53) as f64
            };
            if value.fract() != 0.0 && self.admits(value) {
                return Number::from_f64(value).map(Value::Number);
            }
        }
        None
    }

    /// The ends, or a window of `reach` next to the one that there is.
    fn window(&self, reach: f64) -> (f64, f64) {
        match (self.low.map(|b| b.number), self.high.map(|b| b.number)) {
            (Some(low), Some(high)) => {
                (low.max(high.min(0.0) - 1e12).min(high), high.min(low.max(0.0) + 1e12).max(low))
            }
            (Some(low), None) => (low, low + reach),
            (None, Some(high)) => (high - reach, high),
            (None, None) => (0.0, reach),
        }
    }

    /// Whether a number is between the ends.
    pub(crate) fn admits(&self, value: f64) -> bool {
        self.low.is_none_or(|low| value > low.number || (value == low.number && !low.exclusive))
            && self.high.is_none_or(|high| value < high.number || (value == high.number && !high.exclusive))
    }

    /// Whether a number is outside the ends, or between the multiples.
    pub(crate) fn refuses(&self, value: &Value) -> bool {
        let Some(number) = value.as_f64() else { return true };
        let multiple = self.step.is_none_or(|(num, den)| {
            let quotient = number * den as f64 / num as f64;
            (quotient - quotient.round()).abs() < 1e-6
        });
        // Ends past 2^53 are compared as whole numbers: as floats they and their neighbours are one.
        let whole = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        let inside = match (whole, self.low.map(|b| (b.whole, b.exclusive)), self.high.map(|b| (b.whole, b.exclusive)))
        {
            (Some(whole), low, high)
                if low.is_none_or(|(w, _)| w.is_some()) && high.is_none_or(|(w, _)| w.is_some()) =>
            {
                low.is_none_or(|(low, exclusive)| low.is_some_and(|low| whole >= low + i128::from(exclusive)))
                    && high
                        .is_none_or(|(high, exclusive)| high.is_some_and(|high| whole <= high - i128::from(exclusive)))
            }
            _ => self.admits(number),
        };
        !(multiple && inside)
    }

    /// The plainest number: nearest to 1, or to 0 where 1 is not allowed.
    pub(crate) fn plain(&self, whole: bool, any: bool) -> Option<Value> {
        if let (true, Some((first, last, step))) = (whole, self.whole_range()) {
            return whole_value(1.clamp(first, last) * step);
        }
        if any { self.broken(&mut Rng::new(0, 0, 0)) } else { None }
    }

    /// Whether there is a whole number.
    pub(crate) fn has_whole(&self) -> bool {
        self.whole_range().is_some()
    }

    /// Values at and around both ends: name of the case, value.
    pub(crate) fn edges(&self, whole_only: bool) -> Vec<(&'static str, &'static str, Value)> {
        let mut edges = Vec::new();
        for (bound, sign) in [(self.low, 1), (self.high, -1)] {
            let Some(bound) = bound else { continue };
            let (beyond, at) = (if sign == 1 { "under" } else { "over" }, "at");
            let numbers: [Option<Value>; 3] = match (bound.whole, self.step, whole_only) {
                (Some(_), _, true) | (None, _, true) => {
                    let Some((first, last, step)) = self.whole_range() else { continue };
                    let end = if sign == 1 { first } else { last };
                    if bound.exclusive {
                        [whole_value((end - sign) * step), None, whole_value(end * step)]
                    } else {
                        [whole_value((end - sign) * step), whole_value(end * step), whole_value((end + sign) * step)]
                    }
                }
                (_, step, false) => {
                    let unit =
                        step.map_or(if bound.number.abs() < 1e6 { 0.01 } else { 1.0 }, |(n, d)| n as f64 / d as f64);
                    let near = |steps: f64| number_value(rounded(bound.number + steps * unit, unit));
                    let side = f64::from(sign as i32);
                    if bound.exclusive {
                        [number_value(bound.number), None, near(side)]
                    } else {
                        [near(-side), number_value(bound.number), near(side)]
                    }
                }
            };
            for (case, value) in [beyond, at, "inside"].into_iter().zip(numbers) {
                edges.extend(value.map(|value| (bound.keyword, case, value)));
            }
        }
        if let Some((num, den)) = self.step {
            let half = num as f64 / den as f64 / 2.0;
            let base = self.plain(true, true).and_then(|value| value.as_f64()).unwrap_or_default();
            if whole_only && num > 1 {
                edges.extend(whole_value(base as i128 + 1).map(|value| ("multipleOf", "between", value)));
                edges.extend(whole_value(base as i128 - 1).map(|value| ("multipleOf", "between below", value)));
            } else if !whole_only {
                edges.extend(number_value(base + half).map(|value| ("multipleOf", "between", value)));
                edges.extend(number_value(base - half).map(|value| ("multipleOf", "between below", value)));
            }
        }
        edges
    }
}

/// A whole number as JSON.
pub(crate) fn whole_value(number: i128) -> Option<Value> {
    i64::try_from(number)
        .map(|number| Value::Number(number.into()))
        .or_else(|_| u64::try_from(number).map(|number| Value::Number(number.into())))
        .ok()
}

/// A number as JSON; whole ones without a fraction, because readers disagree about `1.0`.
pub(crate) fn number_value(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return whole_value(number as i128);
    }
    Number::from_f64(number).map(Value::Number)
}

/// Takes the noise of binary arithmetic off a sum: as many decimals as the unit has, and two more.
fn rounded(number: f64, unit: f64) -> f64 {
    let decimals = (0..12).find(|d| (unit * 10f64.powi(*d)).fract().abs() < 1e-9).unwrap_or(12) + 2;
    format!("{number:.*}", decimals as usize).parse().unwrap_or(number)
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a.abs().max(1) } else { gcd(b, a % b) }
}

/// A positive JSON number as a fraction in lowest terms.
fn fraction(value: &Value) -> Option<(i128, i128)> {
    let text = value.as_number()?.to_string();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut num: i128 = format!("{whole}{decimals}").parse().ok()?;
    let mut den: i128 = 1;
    let scale = exponent - decimals.len() as i32;
    let power = 10i128.checked_pow(scale.unsigned_abs())?;
    if scale >= 0 {
        num = num.checked_mul(power)?;
    } else {
        den = power;
    }
    let common = gcd(num, den);
    (num > 0).then_some((num / common, den / common))
}
