//! Results of a sweep as Parquet, beside the CSV: columns of whole numbers, numbers or texts, by what all rows hold; empty cells are null.
//!
//! Two passes over the CSV, a window of rows at a time, so that memory does not grow with the sweep.

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Rows of a group.
const GROUP: usize = 100_000;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Number,
    Text,
}

impl Kind {
    /// What holds this cell too.
    fn with(self, cell: &str) -> Self {
        match self {
            _ if cell.is_empty() => self,
            Self::Whole if cell.parse::<i64>().is_ok() => Self::Whole,
            Self::Whole | Self::Number if cell.parse::<f64>().is_ok_and(f64::is_finite) => Self::Number,
            _ => Self::Text,
        }
    }
    fn field(self, name: &str) -> Result<Arc<Type>, ParquetError> {
        let physical = match self {
            Self::Whole => Physical::INT64,
            Self::Number => Physical::DOUBLE,
            Self::Text => Physical::BYTE_ARRAY,
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        let text = (self == Self::Text).then_some(LogicalType::String);
        builder.with_logical_type(text).build().map(Arc::new)
    }
}

fn reader(path: &Path) -> Result<csv::Reader<std::fs::File>, ParquetError> {
    csv::Reader::from_path(path).map_err(|e| ParquetError::General(e.to_string()))
}

fn bad(error: csv::Error) -> ParquetError {
    ParquetError::General(error.to_string())
}

/// Writes the rows of a CSV file as Parquet.
///
/// # Errors
/// When the CSV cannot be read or the output not be written.
pub(super) fn write(from: &Path, out: impl Write + Send) -> Result<(), ParquetError> {
    let mut csv = reader(from)?;
    let names: Vec<String> = csv.headers().map_err(bad)?.iter().map(str::to_owned).collect();
    let mut kinds = vec![Kind::Whole; names.len()];
    for record in csv.records() {
        let record = record.map_err(bad)?;
        kinds.iter_mut().zip(&record).for_each(|(kind, cell)| *kind = kind.with(cell));
    }
    let fields: Result<Vec<_>, _> = names.iter().zip(&kinds).map(|(name, kind)| kind.field(name)).collect();
    let schema = Arc::new(Type::group_type_builder("scenario").with_fields(fields?).build()?);
    let made_by = format!("orrery version {}", env!("CARGO_PKG_VERSION"));
    let properties = WriterProperties::builder().set_created_by(made_by).build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let mut csv = reader(from)?;
    let mut rows = csv.records();
    loop {
        let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
        for record in rows.by_ref().take(GROUP) {
            let record = record.map_err(bad)?;
            columns.iter_mut().zip(&record).for_each(|(column, cell)| column.push(cell.to_owned()));
        }
        if columns.first().is_none_or(Vec::is_empty) {
            break;
        }
        let mut group = writer.next_row_group()?;
        for (kind, cells) in kinds.iter().zip(&columns) {
            match kind {
                Kind::Whole => put::<Int64Type>(&mut group, cells, |c| c.parse().unwrap_or_default())?,
                Kind::Number => put::<DoubleType>(&mut group, cells, |c| c.parse().unwrap_or_default())?,
                Kind::Text => put::<ByteArrayType>(&mut group, cells, |c| ByteArray::from(c))?,
            }
        }
        group.close()?;
    }
    writer.close().map(|_| ())
}

/// Writes a column: a level of 1 for every cell that is there, and its value.
fn put<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    cells: &[String],
    of: fn(&str) -> T::T,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    let levels: Vec<i16> = cells.iter().map(|c| i16::from(!c.is_empty())).collect();
    let values: Vec<T::T> = cells.iter().filter(|c| !c.is_empty()).map(|c| of(c)).collect();
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn a_table_comes_back_with_its_types() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("r.csv");
        std::fs::write(&csv, "index,step,name,error\n0,1.5,\"a,b\",\n1,2,,bad\n2,,c,\n").unwrap();
        let file = folder.path().join("r.parquet");
        write(&csv, std::fs::File::create(&file).unwrap()).unwrap();
        let read = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        let rows: Vec<Vec<Field>> =
            read.get_row_iter(None).unwrap().map(|r| r.unwrap().get_column_iter().map(|(_, f)| f.clone()).collect()).collect();
        let text = |s: &str| Field::Str(s.into());
        assert_eq!(rows[0], [Field::Long(0), Field::Double(1.5), text("a,b"), Field::Null]);
        assert_eq!(rows[1], [Field::Long(1), Field::Double(2.0), Field::Null, text("bad")]);
        assert_eq!(rows[2], [Field::Long(2), Field::Null, text("c"), Field::Null]);
    }

    /// Every cell of a table of numbers, texts, errors and gaps is in the file as it was in the CSV, over several groups of rows.
    #[test]
    fn groups_of_rows_come_back_cell_by_cell() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("r.csv");
        let mut text = "index,step_s,fits,code,\"note, quoted\"\n".to_owned();
        let rows = GROUP + 17;
        for i in 0..rows {
            let step = if i % 7 == 0 { String::new() } else { format!("{:?}", 1.0 / (i as f64 + 1.0)) };
            let code = if i % 7 == 0 { "E0404" } else { "" };
            text += &format!("{i},{step},{},{code},\"a \"\"b\"\", µs {}\"\n", i % 2 == 0, i % 3);
        }
        std::fs::write(&csv, &text).unwrap();
        let file = folder.path().join("r.parquet");
        write(&csv, std::fs::File::create(&file).unwrap()).unwrap();
        let read = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        assert_eq!(read.metadata().num_row_groups(), 2);
        let mut cells = csv::Reader::from_path(&csv).unwrap().into_records();
        let mut count = 0;
        for row in read.get_row_iter(None).unwrap() {
            let (row, record) = (row.unwrap(), cells.next().unwrap().unwrap());
            for ((_, field), cell) in row.get_column_iter().zip(&record) {
                match field {
                    Field::Null => assert_eq!(cell, ""),
                    Field::Long(n) => assert_eq!(*n, cell.parse::<i64>().unwrap()),
                    Field::Double(x) => assert_eq!(x.to_bits(), cell.parse::<f64>().unwrap().to_bits()),
                    Field::Str(s) => assert_eq!(s, cell),
                    other => panic!("{other:?}"),
                }
            }
            count += 1;
        }
        assert_eq!(count, rows);
    }
}
