//! Readers of job traces: Philly, Helios and Acme columns, Alibaba's openb pods and nodes, and a plain table of our own.

use crate::choice;
use rustc_hash::FxHashMap;

choice! {
    /// How a trace of jobs is written (CSV).
    pub enum TraceFormat {
        /// Philly as cleaned by Pollux: `timestamp,duration,num_gpus,gpu_time,cluster`.
        Philly = "philly",
        /// Helios: `user,gpu_num,cpu_num,submit_time,duration`, perhaps `vc`.
        Helios = "helios",
        /// Acme: `user,gpu_num,cpu_num,submit_time,duration,type`.
        Acme = "acme",
        /// Alibaba openb pods: `cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,creation_time,deletion_time,scheduled_time`.
        Openb = "openb",
        /// Our own: `submit_s,duration_s,accelerators`, perhaps `team,class,priority,cpus,memory_gib,share,part`.
        Plain = "plain",
    }
}

/// A job of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceJob {
    /// Seconds, of whatever clock the trace has.
    pub submit: f64,
    /// Seconds.
    pub duration: f64,
    /// Accelerators.
    pub accelerators: u32,
    /// Thousandths of one accelerator.
    pub share: u16,
    /// Cores of the whole job.
    pub cpus: f64,
    /// Bytes of host memory of the whole job.
    pub memory: f64,
    /// Index into [`TraceRead::teams`].
    pub team: u16,
    /// Index into [`TraceRead::classes`].
    pub class: u16,
    /// Index into [`TraceRead::parts`]: the parts that it may run on, separated by `|`; empty: any.
    pub part: u16,
    /// Priority.
    pub priority: i32,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// First byte.
    pub start: usize,
    /// Line, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// A trace that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceRead {
    /// Jobs in the order of the file.
    pub jobs: Vec<TraceJob>,
    /// Names of teams.
    pub teams: Vec<String>,
    /// Names of classes.
    pub classes: Vec<String>,
    /// Parts that jobs ask for.
    pub parts: Vec<String>,
    /// What cannot be read.
    pub bad: Vec<BadRow>,
}

/// Columns of a format: those that have to be there.
const fn needed(format: TraceFormat) -> &'static [&'static str] {
    match format {
        TraceFormat::Philly => &["timestamp", "duration", "num_gpus"],
        TraceFormat::Helios | TraceFormat::Acme => &["gpu_num", "submit_time", "duration"],
        TraceFormat::Openb => &["cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time"],
        TraceFormat::Plain => &["submit_s", "duration_s", "accelerators"],
    }
}

/// The format that a header has; none that is known.
#[must_use]
pub fn format_of(header: &str) -> Option<TraceFormat> {
    let names: Vec<&str> = header.split(',').map(|n| n.trim().trim_start_matches('\u{feff}')).collect();
    let has = |format| needed(format).iter().all(|n| names.contains(n));
    let known = [TraceFormat::Plain, TraceFormat::Philly, TraceFormat::Openb].into_iter().find(|f| has(*f));
    let acme = names.contains(&"type") || names.contains(&"gpu_time");
    known.or_else(|| has(TraceFormat::Helios).then_some(if acme { TraceFormat::Acme } else { TraceFormat::Helios }))
}

/// Accelerators, seconds and numbers above these are absurd.
const MOST_ACCELERATORS: u64 = 1 << 24;
const LONGEST: f64 = 1e10;

struct Row<'a> {
    columns: &'a FxHashMap<String, usize>,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, name: &str) -> &str {
        self.columns.get(name).and_then(|&i| self.record.get(i)).unwrap_or("").trim()
    }
    fn number(&self, name: &str, most: f64) -> Result<f64, String> {
        let text = self.text(name);
        let value: f64 = text.parse().map_err(|_| format!("`{name}` holds `{text}`, which is no number"))?;
        if (0.0..=most).contains(&value) { Ok(value) } else { Err(format!("`{name}` holds {text}, which is not between 0 and {most}")) }
    }
    fn optional(&self, name: &str, most: f64) -> Result<f64, String> {
        if self.text(name).is_empty() { Ok(0.0) } else { self.number(name, most) }
    }
    fn count(&self, name: &str) -> Result<u32, String> {
        let value = self.number(name, MOST_ACCELERATORS as f64)?;
        if value.fract() == 0.0 { Ok(value as u32) } else { Err(format!("`{name}` holds {value}, which is no whole number")) }
    }
    fn time(&self, name: &str) -> Result<f64, String> {
        let text = self.text(name);
        if let Ok(value) = text.parse::<f64>() {
            return if value.is_finite() && value.abs() < 1e12 { Ok(value) } else { Err(format!("`{name}` holds {text}")) };
        }
        timestamp(text).ok_or_else(|| format!("`{name}` holds `{text}`, which is no time such as 2017-10-09 07:01:55"))
    }
}

/// Seconds since 1970 of `2017-10-09 07:01:55`, perhaps with a `T`, a fraction and a zone such as `+08:00` or `Z`.
fn timestamp(text: &str) -> Option<f64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.splitn(3, '-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, zone) = match time.find(['+', 'Z']).or_else(|| time.find('-')) {
        Some(at) => (&time[..at], &time[at..]),
        None => (time, ""),
    };
    let mut parts = clock.split(':');
    let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let seconds: f64 = parts.next().unwrap_or("0").parse().ok()?;
    let sound = (1970..3000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0.0..61.0).contains(&seconds)
        && parts.next().is_none();
    if !sound {
        return None;
    }
    let offset = match zone.strip_prefix(['+', '-']) {
        Some(zone) => {
            let (h, m) = zone.split_once(':').unwrap_or((zone.get(..2)?, zone.get(2..)?));
            let minutes = 60 * h.parse::<i64>().ok()? + if m.is_empty() { 0 } else { m.parse::<i64>().ok()? };
            if text.contains('+') { minutes } else { -minutes }
        }
        None => 0,
    };
    // Days since 1970 (Hinnant's count of days in the civil calendar).
    let (y, m) = (year - i64::from(month <= 2), (month + 9) % 12);
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400 + hours * 3600 + (minutes - offset) * 60) as f64 + seconds)
}

/// Names in the order in which they come up.
#[derive(Default)]
struct Names {
    list: Vec<String>,
    map: FxHashMap<String, u16>,
}

impl Names {
    fn of(&mut self, name: &str) -> Result<u16, String> {
        if let Some(&known) = self.map.get(name) {
            return Ok(known);
        }
        let next = u16::try_from(self.list.len()).map_err(|_| "there are more than 65,536 names".to_owned())?;
        self.map.insert(name.to_owned(), next);
        self.list.push(name.to_owned());
        Ok(next)
    }
}

/// Reads a trace; rows that cannot be read are told with their lines.
#[must_use]
pub fn read_trace(format: TraceFormat, text: &str) -> TraceRead {
    let mut out = TraceRead::default();
    let (mut teams, mut classes, mut parts) = (Names::default(), Names::default(), Names::default());
    each_row(text, needed(format), &mut out.bad, |row| {
        let job = match format {
            TraceFormat::Philly => philly(row)?,
            TraceFormat::Helios | TraceFormat::Acme => helios(row)?,
            TraceFormat::Openb => openb(row)?,
            TraceFormat::Plain => plain(row)?,
        };
        let (mut job, team, class, part) = job;
        job.team = teams.of(team)?;
        job.class = classes.of(class)?;
        job.part = parts.of(part)?;
        out.jobs.push(job);
        Ok(())
    });
    (out.teams, out.classes, out.parts) = (teams.list, classes.list, parts.list);
    out
}

type Named<'a> = (TraceJob, &'a str, &'a str, &'a str);

fn job(submit: f64, duration: f64, accelerators: u32) -> TraceJob {
    TraceJob { submit, duration, accelerators, share: 1000, cpus: 0.0, memory: 0.0, team: 0, class: 0, part: 0, priority: 0 }
}

/// What a job without accelerators has to ask for.
fn something(job: TraceJob) -> Result<TraceJob, String> {
    if job.accelerators == 0 && job.cpus == 0.0 { Err("the job asks for no accelerators and no cores".to_owned()) } else { Ok(job) }
}

fn philly<'a>(row: &'a Row<'_>) -> Result<Named<'a>, String> {
    let job = something(job(row.time("timestamp")?, row.number("duration", LONGEST)?, row.count("num_gpus")?))?;
    Ok((job, row.text("cluster"), "", ""))
}

/// Cores are those of the whole job.
fn helios<'a>(row: &'a Row<'_>) -> Result<Named<'a>, String> {
    let mut job = job(row.time("submit_time")?, row.number("duration", LONGEST)?, row.count("gpu_num")?);
    if job.accelerators == 0 {
        job.cpus = row.optional("cpu_num", 1e6)?;
    }
    let team = if row.text("vc").is_empty() { row.text("user") } else { row.text("vc") };
    Ok((something(job)?, team, row.text("type"), ""))
}

fn openb<'a>(row: &'a Row<'_>) -> Result<Named<'a>, String> {
    let submit = row.time("creation_time")?;
    let start = if row.text("scheduled_time").is_empty() { submit } else { row.time("scheduled_time")? };
    let end = row.time("deletion_time")?;
    if end < start {
        return Err(format!("the pod ends at {end}, before it starts at {start}"));
    }
    let mut job = job(submit, end - start, row.count("num_gpu")?);
    job.cpus = row.number("cpu_milli", 1e9)? / 1000.0;
    job.memory = row.number("memory_mib", 1e12)? * 1_048_576.0;
    if job.accelerators == 1 {
        let share = row.count("gpu_milli")?;
        job.share = match share {
            1..=1000 => share as u16,
            _ => return Err(format!("`gpu_milli` holds {share}, which is not between 1 and 1000")),
        };
    }
    Ok((something(job)?, "", row.text("qos"), row.text("gpu_spec")))
}

fn plain<'a>(row: &'a Row<'_>) -> Result<Named<'a>, String> {
    let mut job = job(row.number("submit_s", LONGEST)?, row.number("duration_s", LONGEST)?, row.count("accelerators")?);
    job.cpus = row.optional("cpus", 1e9)?;
    job.memory = row.optional("memory_gib", 1e9)? * 1_073_741_824.0;
    let share = row.text("share");
    if !share.is_empty() {
        let value = row.number("share", 1.0)?;
        if job.accelerators != 1 || value < 0.001 {
            return Err(format!("`share` holds {share}: one accelerator can be shared, by thousandths"));
        }
        job.share = (value * 1000.0).round() as u16;
    }
    let priority = row.text("priority");
    if !priority.is_empty() {
        job.priority = priority.parse().map_err(|_| format!("`priority` holds `{priority}`, which is no whole number"))?;
    }
    Ok((something(job)?, row.text("team"), row.text("class"), row.text("part")))
}

/// Nodes of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    /// Accelerators.
    pub accelerators: u32,
    /// What they are called; empty for a node without any.
    pub part: String,
    /// Cores.
    pub cpus: f64,
    /// Bytes of host memory.
    pub memory: f64,
}

/// Reads a table of nodes in Alibaba's openb columns: `sn,cpu_milli,memory_mib,gpu,model`.
#[must_use]
pub fn read_nodes(text: &str) -> (Vec<NodeRow>, Vec<BadRow>) {
    let (mut out, mut bad) = (Vec::new(), Vec::new());
    each_row(text, &["cpu_milli", "memory_mib", "gpu", "model"], &mut bad, |row| {
        let accelerators = row.count("gpu")?;
        if accelerators > 64 {
            return Err(format!("a node of {accelerators} accelerators"));
        }
        let part = if accelerators == 0 { String::new() } else { row.text("model").to_owned() };
        let memory = row.number("memory_mib", 1e12)? * 1_048_576.0;
        out.push(NodeRow { accelerators, part, cpus: row.number("cpu_milli", 1e9)? / 1000.0, memory });
        Ok(())
    });
    (out, bad)
}

/// Calls for each row of a table with a header; what cannot be read is told.
fn each_row(text: &str, needed: &[&str], bad: &mut Vec<BadRow>, mut read: impl FnMut(&Row<'_>) -> Result<(), String>) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns: FxHashMap<String, usize> = match reader.headers() {
        Ok(names) => names.iter().enumerate().map(|(i, n)| (n.trim().trim_start_matches('\u{feff}').to_owned(), i)).collect(),
        Err(error) => return bad.push(BadRow { start: 0, line: 1, reason: format!("this is no CSV: {error}") }),
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|n| !columns.contains_key(*n)).collect();
    if !missing.is_empty() {
        return bad.push(BadRow { start: 0, line: 1, reason: format!("the header lacks {}", missing.join(", ")) });
    }
    let mut record = csv::StringRecord::new();
    loop {
        let place = reader.position().clone();
        match reader.read_record(&mut record) {
            Ok(false) => return,
            Ok(true) => {
                let at = record.position().unwrap_or(&place);
                if let Err(reason) = read(&Row { columns: &columns, record: &record }) {
                    bad.push(BadRow { start: at.byte() as usize, line: at.line(), reason });
                }
            }
            Err(error) => bad.push(BadRow { start: place.byte() as usize, line: place.line(), reason: format!("this is no CSV: {error}") }),
        }
    }
}
