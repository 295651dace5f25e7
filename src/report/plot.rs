//! Charts by plotters: the only file that knows it.

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// Colours that stay apart for colour-blind readers (Okabe and Ito).
pub(super) const PALETTE: [&str; 10] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8c8c8c", "#7b3fa0", "#7a4b00"];

fn colour(hex: &str) -> RGBColor {
    let part = |i: usize| u8::from_str_radix(hex.get(i..i + 2).unwrap_or("80"), 16).unwrap_or(128);
    RGBColor(part(1), part(3), part(5))
}

/// Text and lines follow the page's colour, the background is left out.
fn themed(svg: &str) -> String {
    svg.replace("fill=\"#000000\"", "fill=\"currentColor\"").replace("stroke=\"#000000\"", "stroke=\"currentColor\"")
}

/// A named row of parts of a bar.
pub(super) struct BarRow {
    pub(super) name: String,
    pub(super) parts: Vec<f64>,
}

/// Horizontal stacked bars; `limit` draws a line across, with its name.
pub(super) fn stacked_bars(rows: &[BarRow], unit: &str, limit: Option<(f64, &str)>) -> String {
    let height = 70 + 26 * rows.len() as u32;
    let most = rows.iter().map(|r| r.parts.iter().sum::<f64>()).fold(limit.map_or(0.0, |l| l.0), f64::max) * 1.06;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, height)).into_drawing_area();
        let drawn = (|| -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
            let names: Vec<String> = rows.iter().map(|r| r.name.clone()).collect();
            let mut chart = ChartBuilder::on(&root)
                .margin(8)
                .margin_right(24)
                .x_label_area_size(38)
                .y_label_area_size(110)
                .build_cartesian_2d(0.0..most, 0.0..rows.len() as f64)?;
            chart
                .configure_mesh()
                .disable_y_mesh()
                .y_labels(0)
                .x_desc(unit)
                .x_label_formatter(&|v| crate::units::three(*v))
                .label_style(("sans-serif", 13).into_font().color(&BLACK))
                .axis_style(BLACK.mix(0.5))
                .light_line_style(TRANSPARENT)
                .draw()?;
            for (i, row) in rows.iter().enumerate() {
                let y = (rows.len() - 1 - i) as f64;
                let mut x = 0.0;
                for (part, value) in row.parts.iter().enumerate() {
                    let fill = colour(PALETTE[part % PALETTE.len()]).filled();
                    chart.draw_series([Rectangle::new([(x, y + 0.15), (x + value, y + 0.85)], fill)])?;
                    x += value;
                }
                let style = ("sans-serif", 13).into_font().color(&BLACK);
                let at = chart.backend_coord(&(0.0, y + 0.5));
                root.draw(&Text::new(names[i].clone(), (6, at.1 - 7), style))?;
            }
            if let Some((at, name)) = limit {
                chart.draw_series([PathElement::new(vec![(at, 0.0), (at, rows.len() as f64)], colour("#d55e00").stroke_width(2))])?;
                let place = chart.backend_coord(&(at, rows.len() as f64));
                root.draw(&Text::new(
                    name.to_owned(),
                    (place.0 - 58, (place.1 - 4).max(0)),
                    ("sans-serif", 12).into_font().color(&colour("#d55e00")),
                ))?;
            }
            root.present()
        })();
        // Drawing into a string has no way to fail but a bug; an empty picture is then better than none of the report.
        drop(drawn);
    }
    themed(&svg)
}

/// One line over sizes on logarithmic axes.
pub(super) fn log_line(points: &[(f64, f64)], x_name: &str, y_name: &str) -> String {
    scatter_like(&[(String::new(), points.to_vec())], x_name, y_name, true, None)
}

/// Points by series on logarithmic axes, with bands of equal relative error around the diagonal.
pub(super) fn scatter(series: &[(String, Vec<(f64, f64)>)], x_name: &str, y_name: &str) -> String {
    scatter_like(series, x_name, y_name, false, Some(&[0.1, 0.2]))
}

/// A decade around the data: a logarithmic axis of less has no labels.
fn span(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    let (low, high) = if low.is_finite() && high > 0.0 { (low, high) } else { (1.0, 10.0) };
    (libm::pow(10.0, libm::log10(low).floor()), libm::pow(10.0, libm::log10(high * 1.001).ceil().max(libm::log10(low).floor() + 1.0)))
}

fn scatter_like(series: &[(String, Vec<(f64, f64)>)], x_name: &str, y_name: &str, line: bool, bands: Option<&[f64]>) -> String {
    let all = || series.iter().flat_map(|s| s.1.iter().copied());
    let (mut x, mut y) = (span(all().map(|p| p.0)), span(all().map(|p| p.1)));
    if bands.is_some() {
        x = (x.0.min(y.0), x.1.max(y.1));
        y = x;
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 520)).into_drawing_area();
        let drawn = (|| -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
            let mut chart = ChartBuilder::on(&root)
                .margin(12)
                .x_label_area_size(44)
                .y_label_area_size(80)
                .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
            let label = |v: &f64| crate::units::si(*v, "").trim().to_owned();
            chart
                .configure_mesh()
                .x_desc(x_name)
                .y_desc(y_name)
                .x_label_formatter(&label)
                .y_label_formatter(&label)
                .label_style(("sans-serif", 13).into_font().color(&BLACK))
                .axis_style(BLACK.mix(0.5))
                .bold_line_style(colour("#8c8c8c").mix(0.35))
                .light_line_style(TRANSPARENT)
                .draw()?;
            for band in bands.unwrap_or(&[]) {
                for factor in [1.0 + band, 1.0 / (1.0 + band)] {
                    let ends = [x.0, x.1].map(|v| (v, (v * factor).clamp(y.0, y.1)));
                    chart.draw_series([PathElement::new(ends.to_vec(), colour("#8c8c8c").stroke_width(1))])?;
                }
            }
            for (i, (_, points)) in series.iter().enumerate() {
                let ink = colour(PALETTE[i % PALETTE.len()]);
                if line {
                    chart.draw_series([PathElement::new(points.clone(), ink.stroke_width(2))])?;
                }
                chart.draw_series(points.iter().map(|&p| Circle::new(p, 3, ink.filled())))?;
            }
            root.present()
        })();
        drop(drawn);
    }
    themed(&svg)
}

/// Lines by series; the horizontal axis is logarithmic on request.
pub(super) fn lines(series: &[(String, Vec<(f64, f64)>)], x_name: &str, y_name: &str, log: bool) -> String {
    let all = || series.iter().flat_map(|s| s.1.iter().copied());
    let most = all().map(|p| p.1).fold(0.0, f64::max);
    // Where nothing is above zero, an axis up to one says so.
    let high = if most > 0.0 { 1.05 * most } else { 1.0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 300)).into_drawing_area();
        let mut builder = ChartBuilder::on(&root);
        builder.margin(12).x_label_area_size(44).y_label_area_size(80);
        let label = |v: &f64| crate::units::si(*v, "").trim().to_owned();
        macro_rules! draw {
            ($x:expr) => {
                (|| -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
                    let mut chart = builder.build_cartesian_2d($x, 0.0..high)?;
                    chart
                        .configure_mesh()
                        .x_desc(x_name)
                        .y_desc(y_name)
                        .x_label_formatter(&label)
                        .y_label_formatter(&label)
                        .label_style(("sans-serif", 13).into_font().color(&BLACK))
                        .axis_style(BLACK.mix(0.5))
                        .bold_line_style(colour("#8c8c8c").mix(0.35))
                        .light_line_style(TRANSPARENT)
                        .draw()?;
                    for (i, (_, points)) in series.iter().enumerate() {
                        chart.draw_series([PathElement::new(points.clone(), colour(PALETTE[i % PALETTE.len()]).stroke_width(2))])?;
                    }
                    root.present()
                })()
            };
        }
        let drawn = if log {
            let x = span(all().map(|p| p.0));
            draw!((x.0..x.1).log_scale())
        } else {
            draw!(0.0..all().map(|p| p.0).fold(0.0, f64::max).max(1e-9))
        };
        drop(drawn);
    }
    themed(&svg)
}

/// Measured points and the fitted curve above, relative errors below; sizes on a logarithmic axis. `points`: size, measured, fitted.
pub(super) fn fit_and_residuals(points: &[(f64, f64, f64)], x_name: &str, y_name: &str) -> (String, String) {
    let x = span(points.iter().map(|p| p.0));
    let y = span(points.iter().flat_map(|p| [p.1, p.2]));
    let error = |p: &(f64, f64, f64)| 100.0 * (p.2 / p.1 - 1.0);
    let most = points.iter().map(|p| error(p).abs()).fold(1.0, f64::max) * 1.15;
    let label = |v: &f64| crate::units::si(*v, "").trim().to_owned();
    let mut fitted: Vec<(f64, f64)> = points.iter().map(|p| (p.0, p.2)).collect();
    fitted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut above, mut below) = (String::new(), String::new());
    {
        let root = SVGBackend::with_string(&mut above, (900, 300)).into_drawing_area();
        let drawn = (|| -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
            let mut chart = ChartBuilder::on(&root)
                .margin(12)
                .margin_right(32)
                .x_label_area_size(40)
                .y_label_area_size(80)
                .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
            style(&mut chart, x_name, y_name, &label, &label)?;
            chart.draw_series([PathElement::new(fitted.clone(), colour(PALETTE[1]).stroke_width(2))])?;
            chart.draw_series(points.iter().map(|p| Circle::new((p.0, p.1), 3, colour(PALETTE[0]).filled())))?;
            root.present()
        })();
        drop(drawn);
    }
    {
        let root = SVGBackend::with_string(&mut below, (900, 180)).into_drawing_area();
        let drawn = (|| -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
            let mut chart = ChartBuilder::on(&root)
                .margin(12)
                .margin_right(32)
                .x_label_area_size(40)
                .y_label_area_size(80)
                .build_cartesian_2d((x.0..x.1).log_scale(), -most..most)?;
            style(&mut chart, x_name, "error, %", &label, &|v: &f64| if most < 5.0 { format!("{v:.1}") } else { format!("{v:.0}") })?;
            chart.draw_series([PathElement::new(vec![(x.0, 0.0), (x.1, 0.0)], colour("#8c8c8c").stroke_width(1))])?;
            chart.draw_series(points.iter().map(|p| Circle::new((p.0, error(p)), 3, colour(PALETTE[5]).filled())))?;
            root.present()
        })();
        drop(drawn);
    }
    (themed(&above), themed(&below))
}

/// The axes of [`fit_and_residuals`].
fn style<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    x_name: &str,
    y_name: &str,
    x_label: &dyn Fn(&f64) -> String,
    y_label: &dyn Fn(&f64) -> String,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .label_style(("sans-serif", 13).into_font().color(&BLACK))
        .axis_style(BLACK.mix(0.5))
        .bold_line_style(colour("#8c8c8c").mix(0.35))
        .light_line_style(TRANSPARENT)
        .draw()
}
