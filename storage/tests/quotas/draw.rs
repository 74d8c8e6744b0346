//! Draws the runs of the quota algorithm beside an ideal bucket, and prints their figures.
//!
//! `cargo run -p headgate-storage --example quotas -- DIR` writes one SVG a run into DIR.

mod ideal;
mod measure;
mod runs;
mod world;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use measure::{WINDOW, deviation, per_step, windows};
use world::{Run, STEP};

const WIDTH: f64 = 900.0;
const PANEL: f64 = 180.0;
const MARGIN: f64 = 50.0;
/// Use is drawn as its mean over this time.
const SMOOTH: Duration = Duration::from_millis(500);
/// The upper edge of the first panel, in quotas.
const USE_MAX: f64 = 2.0;
/// The edges of the second panel, in hundredths of the quota.
const ERROR_MAX: f64 = 10.0;
/// Total, ideal, and the gateways.
const COLOURS: [&str; 8] = ["#111", "#d62", "#28c", "#2a2", "#a3a", "#882", "#099", "#c36"];

fn main() {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: quotas DIR");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    println!(
        "{:45} {:>17} {:>17} {:>15} {:>9} {:>8}",
        "run", "10 s windows", "ideal", "1 s windows", "throttles", "reports"
    );
    for run in runs::all() {
        let path = Path::new(&dir).join(format!("{}.svg", run.name.replace([' ', ',', ':', '/'], "-")));
        std::fs::write(path, play(&run)).expect("the file can be written");
    }
}

/// Plays a run, prints its line and returns its drawing.
fn play(run: &Run) -> String {
    let played = run.play();
    let all = per_step(run, played.admitted.iter().map(|(at, _, amount)| (*at, *amount)));
    let ideal = per_step(run, ideal::ideal(run, &played).into_iter());
    let ((below, above), (ideal_below, ideal_above)) = (
        deviation(run, &all, Duration::ZERO, run.length),
        deviation(run, &ideal, Duration::ZERO, run.length),
    );
    let (least, greatest) = windows(&all, Duration::from_secs(1), Duration::ZERO, run.length);
    let part = |amount: u64| amount as f64 / run.rate as f64;
    println!(
        "{:45} -{below:>5.2} .. +{above:.2} % -{ideal_below:>5.2} .. +{ideal_above:.2} % {:>6.2} .. {:.2} {:>9} {:>8}",
        run.name,
        part(least),
        part(greatest),
        played.throttled.len(),
        played.reports,
    );
    let gateways: Vec<Vec<u64>> = (0..run.gateways)
        .map(|wanted| {
            let own = played.admitted.iter().filter(|(_, gateway, _)| *gateway == wanted);
            per_step(run, own.map(|(at, _, amount)| (*at, *amount)))
        })
        .collect();
    let mut names = vec!["all".to_owned(), "ideal".to_owned()];
    names.extend((1..=run.gateways).map(|number| format!("gateway {number}")));
    let mut lines = vec![&all, &ideal];
    lines.extend(&gateways);
    draw(run, &names, &lines)
}

fn draw(run: &Run, names: &[String], lines: &[&Vec<u64>]) -> String {
    let height = 2.0 * PANEL + 3.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{MARGIN}\" y=\"20\" font-size=\"15\">{}</text>\n",
        WIDTH + 2.0 * MARGIN,
        run.name,
    );
    panel(&mut svg, MARGIN, "use, in quotas", &[(0.0, "0"), (0.5, "1"), (1.0, "2")]);
    panel(
        &mut svg,
        2.0 * MARGIN + PANEL,
        "10 s windows, % off the quota",
        &[(0.25, "-5"), (0.5, "0"), (0.75, "+5")],
    );
    for (index, (name, line)) in names.iter().zip(lines).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let use_of = means(line, SMOOTH).map(|mean| mean / run.rate as f64 / USE_MAX);
        curve(&mut svg, run, MARGIN, colour, SMOOTH, use_of);
        if index < 2 {
            let error = means(line, WINDOW)
                .map(|mean| (mean / run.rate as f64 - 1.0) * 100.0 / ERROR_MAX / 2.0 + 0.5);
            curve(&mut svg, run, 2.0 * MARGIN + PANEL, colour, WINDOW, error);
        }
        let x = MARGIN + 110.0 * index as f64;
        writeln!(svg, "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\">{name}</text>", height - 15.0)
            .expect("a String");
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, top: f64, title: &str, marks: &[(f64, &str)]) {
    write!(
        svg,
        "<rect x=\"{MARGIN}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#999\"/>\n<text x=\"{}\" y=\"{}\">{title}</text>\n",
        MARGIN + 5.0,
        top + 14.0,
    )
    .expect("a String");
    for (part, mark) in marks {
        let y = top + PANEL * (1.0 - part);
        write!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\n<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{mark}</text>\n",
            MARGIN + WIDTH,
            MARGIN - 5.0,
            y + 4.0,
        )
        .expect("a String");
    }
}

/// The mean a second over each window of this length, every hundred milliseconds.
fn means(amounts: &[u64], length: Duration) -> impl Iterator<Item = f64> {
    let window = (length.as_millis() / STEP.as_millis()) as usize;
    let mean = move |amounts: &[u64]| amounts.iter().sum::<u64>() as f64 / length.as_secs_f64();
    amounts.windows(window).step_by(100).map(mean)
}

/// `parts` are heights from 0 to 1; the first stands at the time `from`.
fn curve(
    svg: &mut String,
    run: &Run,
    top: f64,
    colour: &str,
    from: Duration,
    parts: impl Iterator<Item = f64>,
) {
    let mut points = String::new();
    for (index, part) in parts.enumerate() {
        let at = from.as_secs_f64() + 0.1 * index as f64;
        let x = MARGIN + WIDTH * at / run.length.as_secs_f64();
        let y = top + PANEL * (1.0 - part.clamp(0.0, 1.0));
        write!(points, "{x:.1},{y:.1} ").expect("a String");
    }
    writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\"/>").expect("a String");
}
