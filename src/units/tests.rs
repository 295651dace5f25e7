//! The grammar of quantities and its round trip.

use super::*;
use proptest::prelude::*;

#[test]
fn grammar() {
    let rate = |t: &str| t.parse::<BytesPerSecond>().unwrap().get();
    for (text, want) in [("400 Gbps", 50e9), ("400Gbps", 50e9), ("50 GB/s", 50e9), ("1 Gib/s", 134_217_728.0), ("8 bit/s", 1.0), ("0", 0.0)]
    {
        assert!((rate(text) - want).abs() < 1e-6, "{text}");
    }
    assert_eq!("80 GiB".parse::<Bytes>().unwrap(), Bytes::gib(80.0));
    assert_eq!("1.5e3 kB".parse::<Bytes>().unwrap().get(), 1.5e6);
    assert_eq!("4 µs".parse::<Seconds>().unwrap().get(), 4e-6);
    assert_eq!("2 d".parse::<Seconds>().unwrap().get(), 172_800.0);
    assert_eq!("312 TFLOPS".parse::<FlopsPerSecond>().unwrap().get(), 312e12);
    assert!(("2.95 USD/h".parse::<UsdPerSecond>().unwrap().get() - 2.95 / 3600.0).abs() < 1e-12);
    assert!(("0.1 USD/kWh".parse::<UsdPerJoule>().unwrap().get() - 0.1 / 3.6e6).abs() < 1e-15);
    assert!(("400 g/kWh".parse::<KilogramsPerJoule>().unwrap().get() - 0.4 / 3.6e6).abs() < 1e-15);
    assert!(("85 %".parse::<Ratio>().unwrap().get() - 0.85).abs() < 1e-12);
    assert_eq!("5 kWh".parse::<Joules>().unwrap().get(), 1.8e7);
}

#[test]
fn refusals_say_why() {
    let said = |t: &str| t.parse::<BytesPerSecond>().unwrap_err();
    assert_eq!(said("400").message, "`400` has no unit");
    assert_eq!(said("5 parsecs").message, "`parsecs` is not a unit of data rate");
    assert_eq!(said("1e999 GB/s").message, "`1e999 GB/s` is not a finite number");
    assert_eq!(said("NaN GB/s").message, "`NaN GB/s` does not start with a number");
    assert_eq!(said("80 GB").message, "`GB` is not a unit of data rate");
    assert!(said("400").hint.contains("400 Gbps"));
    for text in ["", " ", "\u{0}", "𝔘𝔫𝔦", "inf B/s", "--5 B/s", "5e B/s", "1 2 B/s"] {
        said(text);
    }
}

#[test]
fn counts() {
    assert_eq!(parse_count("300 G"), Ok(300_000_000_000));
    assert_eq!(parse_count("1.5M"), Ok(1_500_000));
    assert_eq!(parse_count("64 Ki"), Ok(65_536));
    for text in ["1.5", "-3", "1e30", "3 x", ""] {
        assert!(parse_count(text).is_err(), "{text}");
    }
}

/// The text of a quantity reads back as itself to the three digits that it shows.
fn round_trip<Q: Quantity>(value: f64) {
    let text = Q::new(value).to_string();
    let back = Q::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}")).get();
    assert!((back / value - 1.0).abs() < 6e-3, "{value} is shown as {text} and read as {back}");
}

proptest! {
    #[test]
    fn parse_after_format(exponent in -9.0f64..20.0, sign in any::<bool>()) {
        let value = libm::pow(10.0, exponent) * if sign { -1.0 } else { 1.0 };
        round_trip::<BytesPerSecond>(value * 1e9);
        round_trip::<Bytes>(value * 1e9);
        round_trip::<Flops>(value * 1e9);
        round_trip::<FlopsPerSecond>(value * 1e9);
        round_trip::<Watts>(value * 1e9);
        round_trip::<Joules>(value * 3.6e12);
        round_trip::<Usd>(value * 1e9);
        round_trip::<Ratio>(value);
        if (-9.0..8.0).contains(&exponent) {
            round_trip::<Seconds>(value);
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
        let _ = (text.parse::<Bytes>(), text.parse::<Seconds>(), text.parse::<Ratio>(), parse_count(&text));
    }
}

#[test]
fn money_reads_as_people_write_it() {
    for (value, text) in [
        (12.34, "12.3 USD"),
        (1_234.0, "1,230 USD"),
        (37_730.0, "37,700 USD"),
        (789_600.0, "790,000 USD"),
        (999_700.0, "1 million USD"),
        (1.24e6, "1.24 million USD"),
        (2.5e9, "2.5 billion USD"),
    ] {
        assert_eq!(super::dollars(value), text);
    }
}
