//! Days of the calendar (Gregorian, proleptic), counted from 1 March of year 0.

use std::fmt;
use std::str::FromStr;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i64,
    month: u8,
    day: u8,
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

impl Date {
    /// Days since 1 March of year 0: years begin in March, so that the leap day is the last one.
    fn number(self) -> i64 {
        let (year, month) =
            if self.month > 2 { (self.year, i64::from(self.month) - 3) } else { (self.year - 1, i64::from(self.month) + 9) };
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + i64::from(self.day) - 1
    }
    fn of_number(number: i64) -> Self {
        let (era, day) = (number.div_euclid(146_097), number.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (civil, more) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self { year: year + 400 * era + more, month: civil as u8, day: (day - (153 * month + 2) / 5 + 1) as u8 }
    }
    /// The day that is `days` after 1 January 1970.
    #[must_use]
    pub fn since_1970(days: i64) -> Self {
        Self::of_number(days + 719_468)
    }
    /// The day that is some days later; a begun day counts.
    #[must_use]
    pub fn after(self, days: f64) -> Self {
        Self::of_number(self.number() + days.clamp(0.0, 1e9).floor() as i64)
    }
    /// As `2026-03-14`.
    #[must_use]
    pub fn iso(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.day, MONTHS[usize::from(self.month) - 1], self.year)
    }
}

impl FromStr for Date {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [year, month, day] = parts[..] else { return Err(()) };
        if (year.len(), month.len(), day.len()) != (4, 2, 2) || !text.trim().bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return Err(());
        }
        let number = |t: &str| t.parse::<u16>().map_err(|_| ());
        let date = Self { year: i64::from(number(year)?), month: number(month)? as u8, day: number(day)? as u8 };
        if !(1..=12).contains(&date.month) || !(1..=31).contains(&date.day) {
            return Err(());
        }
        // A day that the month does not have becomes another one.
        if Self::of_number(date.number()) == date { Ok(date) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        let date = |t: &str| t.parse::<Date>();
        assert_eq!(date("2026-01-19").unwrap().after(54.3).to_string(), "14 March 2026");
        assert_eq!(date("2024-02-28").unwrap().after(1.0).iso(), "2024-02-29");
        assert_eq!(date("1999-12-31").unwrap().after(1.0).iso(), "2000-01-01");
        assert_eq!([0, 59, 11_016, 20_783].map(|d| Date::since_1970(d).iso()), ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-26"]);
        for bad in ["2026-02-29", "2026-13-01", "2026-1-1", "26-01-01", "2026-01-00", "tomorrow", "+026-01-01"] {
            assert!(date(bad).is_err(), "{bad}");
        }
        let mut at = date("1600-01-01").unwrap();
        for n in 0..300_000 {
            assert_eq!(Date::of_number(at.number()), at, "{n}");
            at = at.after(1.0);
        }
    }
}
