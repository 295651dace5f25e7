//! Documents of several sections, written once as data and rendered as HTML and as Markdown: text, tables that sort, pictures, lists, code.
//!
//! The HTML is self-contained: no request, one small script of its own that sorts tables; without it, and on paper, everything is still there.

use super::html::page;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// One cell: what is shown, and by what it sorts where that is a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) sort: Option<f64>,
}

/// A text.
pub(super) fn word(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), sort: None }
}

/// A number in words.
pub(super) fn number(value: f64, text: impl Into<String>) -> Cell {
    Cell { text: text.into(), sort: Some(value) }
}

/// How a row stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Plain,
    Best,
    Off,
}

/// A table: names of columns (those that begin with `<` are of text and lie left), and rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<(Mark, Vec<Cell>)>,
    /// Whether a reader may want other orders.
    pub(super) sorts: bool,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), sorts: head.len() > 3 }
    }
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push((Mark::Plain, cells));
    }
    /// A table of two columns: names and values.
    pub(super) fn facts(rows: Vec<(&str, String)>) -> Self {
        let rows = rows.into_iter().map(|(name, value)| (Mark::Plain, vec![word(name), word(value)])).collect();
        Self { head: Vec::new(), rows, sorts: false }
    }
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Text(String),
    Soft(String),
    /// The answer, and whether it is a good one.
    Answer(String, bool),
    Tiles(Vec<(String, String)>),
    Table(Table),
    /// An SVG, with what it shows; Markdown shows the words alone.
    Picture(String, String),
    /// Names of colours.
    Key(Vec<(&'static str, &'static str)>),
    List(Vec<String>),
    Code(String),
}

/// A section under a heading; without one it belongs to the title.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) sections: Vec<Section>,
    pub(super) footer: String,
}

const STYLE: &str = "<style>
.answer{font-size:17px;margin:16px 0;padding-left:12px}.answer.good{color:inherit;font-weight:400;border-left:4px solid var(--good)}
.answer.bad{color:inherit;font-weight:400;border-left:4px solid var(--bad)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--tile);border:1px solid var(--line);border-radius:8px;padding:10px;font-size:12.5px}
.wide{overflow-x:auto}td,th{vertical-align:top}td.left{min-width:8em}td[data-v]{white-space:nowrap}tr.best td{font-weight:600}tr.off td{color:var(--soft)}
th.sorts{cursor:pointer;user-select:none}th.sorts:after{content:' ↕';opacity:.35}th.sorts[aria-sort=ascending]:after{content:' ↑';opacity:1}
th.sorts[aria-sort=descending]:after{content:' ↓';opacity:1}th.sorts:focus-visible{outline:2px solid var(--soft)}
circle.dot{cursor:pointer}circle.dot:hover{stroke:var(--ink);stroke-width:2}.tip{position:fixed;z-index:9;max-width:320px;pointer-events:none;background:var(--ink);color:var(--page);
font-size:12.5px;line-height:1.4;padding:6px 9px;border-radius:6px;opacity:.95}
@media(max-width:600px){.tile b{font-size:17px}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--page:#fff;--tile:#f4f4f4}body{font-size:11pt}th.sorts:after{content:''}.wide{overflow:visible}
table{font-size:9pt}.tip{display:none}tr,figure,.tile,.answer{break-inside:avoid}h2{break-after:avoid}pre{break-inside:auto;font-size:8pt}@page{margin:15mm}}
</style>";

/// Sorts a table by the column that is clicked, or chosen with the keyboard; shows what a dot of a picture is.
const SCRIPT: &str = "<script>
document.querySelectorAll('table.sort').forEach(function(table){
var heads=table.tHead.rows[0].cells;
Array.prototype.forEach.call(heads,function(head,i){
head.className+=' sorts';head.tabIndex=0;
function go(){
var up=head.getAttribute('aria-sort')!=='ascending',body=table.tBodies[0];
Array.prototype.forEach.call(heads,function(h){h.removeAttribute('aria-sort')});
head.setAttribute('aria-sort',up?'ascending':'descending');
var rows=Array.prototype.slice.call(body.rows);
function key(row){var cell=row.cells[i],v=cell.getAttribute('data-v');return v===null?cell.textContent.trim():parseFloat(v)}
rows.sort(function(a,b){var x=key(a),y=key(b),n=typeof x==='number',m=typeof y==='number';
var c=n&&m?x-y:n?-1:m?1:x.localeCompare(y);return up?c:-c});
rows.forEach(function(row){body.appendChild(row)});}
head.addEventListener('click',go);
head.addEventListener('keydown',function(e){if(e.key==='Enter'||e.key===' '){e.preventDefault();go()}});
});});
var tip=null;
document.querySelectorAll('circle.dot').forEach(function(dot){
var words=dot.querySelector('title').textContent;
dot.addEventListener('mousemove',function(e){
if(!tip){tip=document.createElement('div');tip.className='tip';document.body.appendChild(tip)}
tip.textContent=words;tip.style.left=Math.max(4,Math.min(e.clientX+14,window.innerWidth-330))+'px';tip.style.top=(e.clientY+14)+'px'});
dot.addEventListener('mouseleave',function(){if(tip){tip.remove();tip=null}});
});
</script>";

impl Document {
    /// As a self-contained page.
    pub(super) fn html(&self) -> String {
        let body = html! {
            (PreEscaped(STYLE))
            h1 { (self.title) }
            @for section in &self.sections {
                @if !section.title.is_empty() { h2 { (section.title) } }
                @for block in &section.blocks { (shown(block)) }
            }
            footer { (self.footer) }
            (PreEscaped(SCRIPT))
        };
        page(&self.title, &body)
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!("# {}\n", self.title);
        for section in &self.sections {
            if !section.title.is_empty() {
                let _ = write!(out, "\n## {}\n", section.title);
            }
            for block in &section.blocks {
                write_block(block, &mut out);
            }
        }
        let _ = write!(out, "\n---\n{}\n", self.footer);
        out
    }
}

fn shown(block: &Block) -> Markup {
    html! {
        @match block {
            Block::Text(text) => { p { (text) } }
            Block::Soft(text) => { p.soft { (text) } }
            Block::Answer(text, good) => { p class={ "answer " (if *good { "good" } else { "bad" }) } { (text) } }
            Block::Tiles(tiles) => { div.tiles { @for (value, name) in tiles { div.tile { b { (value) } span { (name) } } } } }
            Block::Table(table) => { (table_of(table)) }
            Block::Picture(svg, _) => { figure { (PreEscaped(svg)) } }
            Block::Key(names) => { div.key { @for (name, colour) in names { span { i style={"background:" (colour)} {} (name) } } } }
            Block::List(items) => { ul { @for item in items { li { (item) } } } }
            Block::Code(text) => { pre { (text) } }
        }
    }
}

fn table_of(table: &Table) -> Markup {
    let left = |i: usize| if table.head.is_empty() || table.head[i].starts_with('<') { "left" } else { "" };
    let class = match (table.head.is_empty(), table.sorts && table.rows.len() > 1) {
        (true, _) => "facts",
        (false, true) => "sort",
        _ => "",
    };
    html! { div.wide { table class=(class) {
        @if !table.head.is_empty() {
            thead { tr { @for (i, name) in table.head.iter().enumerate() { th class=(left(i)) { (name.trim_start_matches('<')) } } } }
        }
        tbody { @for (mark, cells) in &table.rows {
            tr class=(match mark { Mark::Plain => "", Mark::Best => "best", Mark::Off => "off" }) {
                @for (i, cell) in cells.iter().enumerate() { td class=(left(i)) data-v=[cell.sort] { (cell.text) } }
            }
        } }
    } } }
}

fn write_block(block: &Block, out: &mut String) {
    let _ = match block {
        Block::Text(text) | Block::Soft(text) => write!(out, "\n{}\n", plain(text)),
        Block::Answer(text, _) => write!(out, "\n> {}\n", plain(text)),
        Block::Tiles(tiles) => {
            out.push('\n');
            tiles.iter().try_for_each(|(value, name)| writeln!(out, "- **{}** {}", plain(value), plain(name)))
        }
        Block::Table(table) => {
            write_table(table, out);
            Ok(())
        }
        Block::Picture(_, words) if words.is_empty() => Ok(()),
        Block::Picture(_, words) => write!(out, "\n{}\n", plain(words)),
        Block::Key(_) => Ok(()),
        Block::List(items) => {
            out.push('\n');
            items.iter().try_for_each(|item| writeln!(out, "- {}", plain(item)))
        }
        Block::Code(text) => write!(out, "\n```\n{}\n```\n", text.trim_end()),
    };
}

fn write_table(table: &Table, out: &mut String) {
    let columns = table.rows.first().map_or(table.head.len(), |r| r.1.len());
    let head: Vec<&str> =
        if table.head.is_empty() { vec![""; columns] } else { table.head.iter().map(|h| h.trim_start_matches('<')).collect() };
    let ends: Vec<&str> =
        (0..columns).map(|i| if i > 0 && table.head.get(i).is_some_and(|h| !h.starts_with('<')) { "---:" } else { "---" }).collect();
    let _ = write!(out, "\n| {} |\n| {} |\n", head.join(" | "), ends.join(" | "));
    for (mark, cells) in &table.rows {
        let bold = |text: String| if *mark == Mark::Best && !text.is_empty() { format!("**{text}**") } else { text };
        let cells: Vec<String> = cells.iter().map(|c| bold(plain(&c.text).replace('|', "\\|"))).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// Text in which nothing is taken for a mark.
fn plain(text: &str) -> String {
    text.replace('\n', " ").replace('*', "\\*").replace('<', "&lt;")
}

/// Text for an attribute or an element of an SVG.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Document {
        let mut table = Table { sorts: true, ..Table::new(&["<name", "money"]) };
        table.row(vec![word("a|b <c>"), number(2e6, "2 M")]);
        table.rows.push((Mark::Best, vec![word("d*"), number(1e6, "1 M")]));
        let blocks = vec![
            Block::Answer("Take <d>.".into(), true),
            Block::Table(table),
            Block::List(vec!["one".into()]),
            Block::Code("x = 1\n".into()),
        ];
        Document { title: "T & U".into(), sections: vec![Section { title: "S", blocks }], footer: "end".into() }
    }

    #[test]
    fn a_page_escapes_and_names_what_sorts() {
        let page = sample().html();
        assert!(page.contains("a|b &lt;c&gt;") && page.contains("<h1>T &amp; U</h1>"), "{page}");
        assert!(page.contains("data-v=\"2000000\"") && page.contains("class=\"sort\"") && page.contains("class=\"best\""));
        assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn markdown_has_the_same_rows() {
        let text = sample().markdown();
        let rows = "| name | money |\n| --- | ---: |\n| a\\|b &lt;c> | 2 M |\n| **d\\*** | **1 M** |\n";
        assert!(text.contains(rows), "{text}");
        assert!(text.contains("\n> Take &lt;d>.\n") && text.contains("\n- one\n") && text.contains("```\nx = 1\n```"), "{text}");
    }
}
