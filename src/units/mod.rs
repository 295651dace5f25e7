//! Quantities with units: the newtypes, their arithmetic, and simulated time.
//!
//! Every quantity is an `f64` in the SI base of its dimension (bytes, bytes per second, seconds, FLOP, watts, US
//! dollars), is never NaN, and has a total order. `parse` holds the one grammar for all of them and `display` the one
//! way in which they are printed; `parse(format(x)) == x` is a property test. Only the products that the program needs
//! are defined: the list below is the physics of the program.

mod date;
mod display;
mod parse;

#[cfg(test)]
mod tests;

pub use date::Date;
pub use display::{dollars, grouped, rounded, si, three};
pub use parse::{UnitError, parse_count};

use serde::{Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// The dimension of a quantity: which units a text may use and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Data size, base byte.
    Bytes,
    /// Data rate, base byte per second; reads bits (`Gbps`) and bytes (`GB/s`).
    BytesPerSecond,
    /// Time, base second.
    Seconds,
    /// Arithmetic work, base FLOP.
    Flops,
    /// Arithmetic rate, base FLOP per second.
    FlopsPerSecond,
    /// Power, base watt.
    Watts,
    /// Energy, base joule.
    Joules,
    /// Money, base US dollar.
    Usd,
    /// Hourly price, base US dollar per second.
    UsdPerSecond,
    /// Energy price, base US dollar per joule.
    UsdPerJoule,
    /// Carbon intensity, base kilogram per joule.
    KilogramsPerJoule,
    /// A share or factor; reads `%`.
    Ratio,
}

/// A quantity with a unit.
pub trait Quantity: Copy + fmt::Display {
    /// Which units its text may have.
    const DIMENSION: Dimension;
    /// The value in the SI base of the dimension.
    fn get(self) -> f64;
    /// Takes a value in the SI base of the dimension.
    ///
    /// # Panics
    /// When the value is NaN, which no checked input and no model can produce.
    fn new(value: f64) -> Self;
    /// Reads a text such as `"400 Gbps"` or `"80 GiB"`.
    ///
    /// # Errors
    /// Says what is wrong with the text and which unit was probably meant.
    fn parse(text: &str) -> Result<Self, UnitError> {
        parse::parse(text, Self::DIMENSION).map(Self::new)
    }
}

macro_rules! quantities {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Default)]
        pub struct $name(f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);
            /// Takes a value in the SI base of the dimension.
            ///
            /// # Panics
            /// When the value is NaN.
            #[track_caller]
            #[must_use]
            pub const fn new(value: f64) -> Self {
                assert!(!value.is_nan(), "a quantity is never NaN");
                Self(value)
            }
            /// The value in the SI base of the dimension.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
            /// The larger of two.
            #[must_use]
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }
            /// The smaller of two.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }
        }
        impl Quantity for $name {
            const DIMENSION: Dimension = Dimension::$name;
            fn get(self) -> f64 {
                self.0
            }
            fn new(value: f64) -> Self {
                Self::new(value)
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&display::format(self.0, Dimension::$name))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_f64(self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = UnitError;
            fn from_str(text: &str) -> Result<Self, UnitError> {
                <Self as Quantity>::parse(text)
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self::new(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self::new(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self::new(self.0 * factor)
            }
        }
        impl Mul<$name> for f64 {
            type Output = $name;
            fn mul(self, quantity: $name) -> $name {
                quantity * self
            }
        }
        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self::new(self.0 / divisor)
            }
        }
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Add::add)
            }
        }
    )*};
}

quantities! {
    /// A data size.
    Bytes;
    /// A data rate.
    BytesPerSecond;
    /// A time span.
    Seconds;
    /// An amount of arithmetic.
    Flops;
    /// A rate of arithmetic.
    FlopsPerSecond;
    /// Power.
    Watts;
    /// Energy.
    Joules;
    /// Money.
    Usd;
    /// A price per time, written by the hour.
    UsdPerSecond;
    /// A price of energy, written per kilowatt-hour.
    UsdPerJoule;
    /// Carbon intensity of electricity, written in kilograms or grams per kilowatt-hour.
    KilogramsPerJoule;
    /// A share or factor.
    Ratio;
}

/// Seconds in an hour.
pub const HOUR: f64 = 3600.0;
/// Seconds in a day.
pub const DAY: f64 = 86400.0;
/// Seconds in a month, a twelfth of a year.
pub const MONTH: f64 = 365.25 / 12.0 * DAY;
/// Joules in a kilowatt-hour.
pub const KWH: f64 = 3.6e6;

macro_rules! products {
    ($($a:ident * $b:ident = $c:ident;)*) => {$(
        impl Mul<$b> for $a {
            type Output = $c;
            fn mul(self, other: $b) -> $c {
                $c::new(self.0 * other.0)
            }
        }
        impl Div<$b> for $c {
            type Output = $a;
            fn div(self, other: $b) -> $a {
                $a::new(self.0 / other.0)
            }
        }
        impl Div<$a> for $c {
            type Output = $b;
            fn div(self, other: $a) -> $b {
                $b::new(self.0 / other.0)
            }
        }
    )*};
}

products! {
    BytesPerSecond * Seconds = Bytes;
    FlopsPerSecond * Seconds = Flops;
    Watts * Seconds = Joules;
    UsdPerSecond * Seconds = Usd;
    UsdPerJoule * Joules = Usd;
}

impl Bytes {
    /// From GiB (1024³ bytes).
    #[must_use]
    pub const fn gib(value: f64) -> Self {
        Self::new(value * 1_073_741_824.0)
    }
}

/// A moment of simulated time: seconds since the start, never NaN, never negative, totally ordered.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct SimTime(f64);

impl SimTime {
    /// The start of the simulation.
    pub const ZERO: Self = Self(0.0);
    /// Takes seconds since the start.
    ///
    /// # Panics
    /// When the value is NaN or negative: a bug in a model.
    #[track_caller]
    #[must_use]
    #[inline]
    pub const fn new(seconds: f64) -> Self {
        assert!(seconds >= 0.0, "simulated time is never NaN and never negative");
        Self(seconds)
    }
    /// Seconds since the start.
    #[must_use]
    #[inline]
    pub const fn seconds(self) -> f64 {
        self.0
    }
    /// The later of two moments.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}
impl Eq for SimTime {}
impl PartialOrd for SimTime {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for SimTime {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl Add<f64> for SimTime {
    type Output = Self;
    #[inline]
    fn add(self, seconds: f64) -> Self {
        Self::new(self.0 + seconds)
    }
}
impl Sub for SimTime {
    type Output = f64;
    fn sub(self, other: Self) -> f64 {
        self.0 - other.0
    }
}
