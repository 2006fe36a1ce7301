//! What the columns of a CSV file mean: as the flags say, else by well-known names and by what stands in them.

use csv::ByteRecord;
use windrow_client::FieldType;

use super::arguments::DemoArgs;
use super::source::Field;

/// Names of a column of event times, the best first.
const TIME_NAMES: [&str; 8] =
    ["time_ms", "event_time_ms", "timestamp_ms", "ts_ms", "event_time", "timestamp", "ts", "time"];
/// Names of columns that name entities, with the prefix that their entities get.
const ENTITY_NAMES: [(&str, &str); 18] = [
    ("author", "author"),
    ("user", "user"),
    ("user_id", "user"),
    ("customer", "customer"),
    ("customer_id", "customer"),
    ("account", "account"),
    ("account_id", "account"),
    ("card", "card"),
    ("card_id", "card"),
    ("merchant", "merchant"),
    ("merchant_id", "merchant"),
    ("device", "device"),
    ("session", "session"),
    ("product", "product"),
    ("item", "item"),
    ("folder", "path"),
    ("path", "path"),
    ("repo", "repo"),
];
/// Endings of columns whose numbers are names or times, not amounts.
const NOT_AMOUNTS: [&str; 4] = ["id", "_ms", "_at", "time"];
/// Fields that are taken without being asked for; more can be named.
const FIELDS_FOUND_MAX: usize = 8;
/// Longest name of a field.
const FIELD_NAME_BYTES_MAX: usize = 64;

/// Which column is what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) time: usize,
    /// Milliseconds of one unit of the time column.
    pub(super) time_unit_ms: i64,
    /// Column and prefix; at least one.
    pub(super) entities: Vec<(usize, String)>,
    /// Columns of [`Columns::fields`].
    pub(super) field_columns: Vec<usize>,
    pub(super) fields: Vec<Field>,
}

impl Columns {
    /// Decides; the error says what is missing and which flag gives it.
    pub(super) fn choose(
        header: &[String],
        args: &DemoArgs,
        sample: &[ByteRecord],
    ) -> Result<Columns, String> {
        let (time, time_unit_ms) = time_column(header, args.time.as_deref())?;
        let entities = if args.entity.is_empty() {
            known_entities(header)?
        } else {
            args.entity.iter().map(|flag| entity_column(header, flag)).collect::<Result<_, _>>()?
        };
        let chosen: Vec<(usize, Field)> = if args.field.is_empty() {
            let taken =
                |column: &usize| *column == time || entities.iter().any(|(entity, _)| entity == column);
            fields_found(header, sample, taken)
        } else {
            args.field.iter().map(|flag| field_column(header, flag)).collect::<Result<_, _>>()?
        };
        let (field_columns, fields) = chosen.into_iter().unzip();
        Ok(Columns { time, time_unit_ms, entities, field_columns, fields })
    }
}

fn find(header: &[String], name: &str, flag: &str) -> Result<usize, String> {
    header
        .iter()
        .position(|title| title == name)
        .ok_or_else(|| format!("{flag} names a column {name} that is not there"))
}

fn time_column(header: &[String], flag: Option<&str>) -> Result<(usize, i64), String> {
    if let Some(flag) = flag {
        let (name, unit_ms) = match flag.rsplit_once(':') {
            Some((name, "s")) => (name, 1000),
            Some((name, "ms")) => (name, 1),
            _ => (flag, 1),
        };
        return Ok((find(header, name, "--time")?, unit_ms));
    }
    let known =
        TIME_NAMES.iter().find_map(|name| header.iter().position(|title| title.eq_ignore_ascii_case(name)));
    known.map(|column| (column, 1)).ok_or_else(|| {
        "no column has a well-known name for the time of an event. Name the one of Unix milliseconds: --time COL \
         (or seconds: --time COL:s)"
            .to_owned()
    })
}

fn known_entities(header: &[String]) -> Result<Vec<(usize, String)>, String> {
    let mut entities: Vec<(usize, String)> = Vec::new();
    for (name, prefix) in ENTITY_NAMES {
        let column = header.iter().position(|title| title.eq_ignore_ascii_case(name));
        if let Some(column) = column
            && !entities.iter().any(|(_, taken)| taken == prefix)
        {
            entities.push((column, prefix.to_owned()));
        }
    }
    if entities.is_empty() {
        return Err("no column has a well-known name for whom an event belongs to. Name one or several: \
                    --entity COL or --entity COL:PREFIX"
            .to_owned());
    }
    Ok(entities)
}

fn entity_column(header: &[String], flag: &str) -> Result<(usize, String), String> {
    // A column may have a colon in its name.
    if let Some(column) = header.iter().position(|title| title == flag) {
        return Ok((column, flag.to_owned()));
    }
    let (name, prefix) = flag.rsplit_once(':').unwrap_or((flag, flag));
    Ok((find(header, name, "--entity")?, prefix.to_owned()))
}

fn field_column(header: &[String], flag: &str) -> Result<(usize, Field), String> {
    let takes = || {
        format!(
            "--field {flag} cannot be understood: it takes NAME=COL:FLOAT, NAME=COL:INT or NAME=COL:STRING"
        )
    };
    let (name, rest) = flag.split_once('=').ok_or_else(takes)?;
    let (column, kind) = rest.rsplit_once(':').ok_or_else(takes)?;
    let kind = match kind.to_ascii_uppercase().as_str() {
        "FLOAT" => FieldType::Float,
        "INT" => FieldType::Int,
        "STRING" => FieldType::String,
        _ => return Err(takes()),
    };
    Ok((find(header, column, "--field")?, Field { name: name.to_owned(), kind }))
}

/// Every column that holds numbers and nothing else, unless its name says that they are no amounts.
fn fields_found(
    header: &[String],
    sample: &[ByteRecord],
    taken: impl Fn(&usize) -> bool,
) -> Vec<(usize, Field)> {
    let mut fields: Vec<(usize, Field)> = Vec::new();
    for (column, title) in header.iter().enumerate().filter(|(column, _)| !taken(column)) {
        let lower = title.to_ascii_lowercase();
        if NOT_AMOUNTS.iter().any(|ending| lower.ends_with(ending)) {
            continue;
        }
        let name = field_name(title);
        if let Some(kind) = numeric_kind(sample, column)
            && !fields.iter().any(|(_, field)| field.name == name)
        {
            fields.push((column, Field { name, kind }));
        }
        if fields.len() == FIELDS_FOUND_MAX {
            break;
        }
    }
    fields
}

/// INT or FLOAT when nearly everything in the column is; a few bad values are bad rows, not another type.
fn numeric_kind(sample: &[ByteRecord], column: usize) -> Option<FieldType> {
    let cells = sample.iter().filter_map(|record| record.get(column)).filter(|cell| !cell.is_empty());
    let (mut cells_seen, mut ints, mut floats) = (0_usize, 0_usize, 0_usize);
    for cell in cells {
        cells_seen += 1;
        let text = std::str::from_utf8(cell).unwrap_or_default().trim();
        ints += usize::from(text.parse::<i64>().is_ok());
        floats += usize::from(text.parse::<f64>().is_ok_and(f64::is_finite));
    }
    let nearly_all = cells_seen - cells_seen / 10;
    match cells_seen {
        0 => None,
        _ if ints == floats && ints >= nearly_all => Some(FieldType::Int),
        _ if floats >= nearly_all => Some(FieldType::Float),
        _ => None,
    }
}

/// A title as the name of a field: letters, digits, `_ . -`, not beginning with a digit.
fn field_name(title: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let mut name: String =
        title.trim().chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        name.insert(0, '_');
    }
    name.truncate(FIELD_NAME_BYTES_MAX);
    name
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{ByteRecord, Columns, DemoArgs, FieldType, field_name};

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        args: DemoArgs,
    }

    fn choose(header: &str, rows: &[&str], flags: &[&str]) -> Result<Columns, String> {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        let sample: Vec<ByteRecord> = rows.iter().map(|row| ByteRecord::from_iter(row.split(','))).collect();
        let flags = ["demo", "--csv", "x.csv"].iter().chain(flags);
        Columns::choose(&header, &Demo::parse_from(flags).args, &sample)
    }

    fn shown(columns: &Columns) -> String {
        let entities: Vec<String> =
            columns.entities.iter().map(|(column, prefix)| format!("{column}:{prefix}")).collect();
        let fields = columns.field_columns.iter().zip(&columns.fields);
        let fields: Vec<String> =
            fields.map(|(column, field)| format!("{}={column}:{:?}", field.name, field.kind)).collect();
        format!("{} x{} | {} | {}", columns.time, columns.time_unit_ms, entities.join(" "), fields.join(" "))
    }

    #[test]
    fn well_known_columns_need_no_flag() {
        let header = "arrival_ms,time_ms,repo,author,folder,files,added,deleted";
        let rows = ["1,2,redis,6f16,.,23,7204,0", "1,2,redis,6f16,doc,2,x,0.5"];
        let rows: Vec<&str> = std::iter::repeat_n(rows[0], 20).chain([rows[1]]).collect();
        let columns = choose(header, &rows, &[]).unwrap();
        assert_eq!(
            shown(&columns),
            "1 x1 | 3:author 4:path 2:repo | files=5:Int added=6:Int deleted=7:Float"
        );
    }

    #[test]
    fn flags_come_first() {
        let flags = [
            "--time",
            "at:s",
            "--entity",
            "shop:merchant",
            "--entity",
            "a:b",
            "--field",
            "sum=cost:FLOAT",
            "--field",
            "t=tag:string",
        ];
        let columns = choose("user,ts,at,shop,a:b,cost,tag", &["u,1,2,s,x,3,t"], &flags).unwrap();
        assert_eq!(shown(&columns), "2 x1000 | 3:merchant 4:a:b | sum=5:Float t=6:String");
        assert_eq!(columns.fields[1].kind, FieldType::String);
    }

    #[test]
    fn what_is_missing_is_said_with_the_flag_that_gives_it() {
        for (header, flags, named) in [
            ("when,user", &[][..], "--time"),
            ("ts,who", &[], "--entity"),
            ("ts,user", &["--time", "nope"], "nope"),
            ("ts,user", &["--entity", "nope:x"], "nope"),
            ("ts,user,v", &["--field", "v"], "NAME=COL"),
            ("ts,user,v", &["--field", "v=v:BLOB"], "NAME=COL"),
            ("ts,user,v", &["--field", "v=w:INT"], "column w"),
        ] {
            let error = choose(header, &[], flags).unwrap_err();
            assert!(error.contains(named), "{header} {flags:?}: {error}");
        }
    }

    #[test]
    fn numbers_that_are_names_or_times_are_no_fields() {
        let columns =
            choose("ts,user,order_id,seen_ms,price,note,empty", &["1,u,7,8,-2.50,x,"], &[]).unwrap();
        assert_eq!(shown(&columns), "0 x1 | 1:user | price=4:Float");
    }

    #[test]
    fn titles_become_names_of_fields() {
        assert_eq!(
            ["price (€)", "2x", "ok.name-1", ""].map(field_name),
            ["price____", "_2x", "ok.name-1", "_"]
        );
    }
}
