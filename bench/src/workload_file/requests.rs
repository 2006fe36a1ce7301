//! The kinds of requests of a workload file: their bytes, and what fills the places that vary.

use super::{CommandName, Names, RequestPlan, ValuePlan, WorkloadFile};
use crate::entities::{Distribution, Order};
use crate::error::BenchError;
use crate::models::{Offsets, Texts};
use crate::replies::Expect;
use crate::template::{KeyFormat, Piece, Template};
use crate::workload::{Request, Space, Workload};

impl WorkloadFile {
    /// These kinds of requests of the file.
    ///
    /// # Errors
    ///
    /// Names or values that are described wrongly.
    pub fn workload(&self, plans: &[RequestPlan]) -> Result<Workload, BenchError> {
        // The space in front is the run's own, of which nothing here draws.
        let mut formats = vec![KeyFormat::new("", 1, 1).expect("one digit tells one apart")];
        let mut spaces = Vec::new();
        for (name, names) in &self.names {
            let Names { count, prefix, bytes, distribution } = names;
            let format = KeyFormat::new(prefix, *bytes, *count).ok_or_else(|| {
                BenchError::Settings(format!(
                    "names.{name}: {bytes} bytes beginning with {prefix:?} do not tell {count} apart"
                ))
            })?;
            let distribution: Distribution = distribution
                .parse()
                .map_err(|error| BenchError::Settings(format!("names.{name}.distribution: {error}")))?;
            formats.push(format);
            spaces.push(Space { count: *count, distribution, order: Order::Drawn });
        }
        let mut workload = Workload {
            requests: Vec::new(),
            shares: Vec::new(),
            spaces,
            texts: Vec::new(),
            offsets: Vec::new(),
        };
        let total_share: f64 = plans.iter().map(|request| request.share.unwrap_or(1.0)).sum();
        for plan in plans {
            let mut space = self.space(&plan.entities, &plan.name)?;
            if plan.order == Some(Order::Sequential) {
                // A space of its own: fields whose values are the same names do not take the entities' turns.
                workload.spaces.push(Space { order: Order::Sequential, ..workload.spaces[space - 1] });
                formats.push(formats[space].clone());
                space = workload.spaces.len();
            }
            let template = Template::of_space(formats.clone(), space);
            let request = self.request(plan, template, &mut workload)?;
            workload.requests.push(request);
            workload.shares.push(plan.share.unwrap_or(1.0) / total_share);
        }
        Ok(workload)
    }

    /// The index of a space among those that requests draw from.
    pub(super) fn space(&self, name: &str, of: &str) -> Result<usize, BenchError> {
        let at = self.names.keys().position(|known| known == name);
        at.map(|at| at + 1).ok_or_else(|| {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            BenchError::Settings(format!(
                "request {of}: there are no [names.{name}], only {}",
                known.join(", ")
            ))
        })
    }

    fn request(
        &self,
        plan: &RequestPlan,
        mut template: Template,
        workload: &mut Workload,
    ) -> Result<Request, BenchError> {
        if !plan.repeats {
            template.without_repeats();
        }
        let fields = self.fields(plan, workload)?;
        let time = if plan.time.is_in_order() {
            Piece::TimeMs { back_ms: 0 }
        } else {
            let seed = self.seed_of(Salt::Offsets, workload.offsets.len());
            workload.offsets.push(Offsets::new(&plan.time, seed)?);
            Piece::Moved(workload.offsets.len() - 1)
        };
        let rows = plan.rows;
        let expects = match plan.command {
            CommandName::Add => (0..rows).map(|_| add(&mut template, plan, &fields, time)).collect(),
            CommandName::Madd => vec![madd(&mut template, plan, &fields, time)],
            CommandName::Get => (0..rows).map(|_| get(&mut template, plan)).collect(),
            CommandName::Mget => vec![mget(&mut template, plan)],
            CommandName::Top => vec![top(&mut template, plan)],
        };
        let operations = if plan.command == CommandName::Top { 1 } else { rows as u64 };
        let duplicate_share = plan.duplicate_share;
        Ok(Request { name: plan.name.clone(), template, expects, operations, duplicate_share })
    }

    /// The fields of a request's events, and what fills them.
    fn fields<'a>(
        &self,
        plan: &'a RequestPlan,
        workload: &mut Workload,
    ) -> Result<Vec<(&'a str, Piece<'static>)>, BenchError> {
        let mut fields = Vec::with_capacity(plan.values.len());
        for (field, value) in &plan.values {
            let (model, is_int) = match value {
                ValuePlan::Name { names } => {
                    fields.push((field.as_str(), Piece::Name(self.space(names, &plan.name)?)));
                    continue;
                }
                ValuePlan::Int { int } => (int, true),
                ValuePlan::Float { float } => (float, false),
            };
            let seed = self.seed_of(Salt::Texts, workload.texts.len());
            let texts = Texts::numbers(field, model, is_int, seed)?;
            fields.push((field, Piece::Drawn { texts: workload.texts.len(), width: texts.width() }));
            workload.texts.push(texts);
        }
        Ok(fields)
    }

    /// The seed of the n-th of what is drawn of one kind: no two of a workload have the same.
    fn seed_of(&self, salt: Salt, n: usize) -> u64 {
        self.load.seed.wrapping_mul(1_000_003).wrapping_add(((salt as u64) << 32) + n as u64)
    }
}

/// Keeps the seeds of different kinds of draws apart; 0 is the spaces of names.
#[derive(Clone, Copy)]
enum Salt {
    Texts = 1,
    Offsets = 2,
}

/// Texts as arguments.
fn words(texts: &[String]) -> Vec<[Piece<'_>; 1]> {
    texts.iter().map(|text| [Piece::Text(text)]).collect()
}

/// One EVENT.ADD.
fn add(template: &mut Template, plan: &RequestPlan, fields: &[(&str, Piece<'_>)], time: Piece<'_>) -> Expect {
    let (stream, time) = ([Piece::Text(&plan.stream)], [time]);
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("EVENT.ADD")], &[Piece::NextKey], &stream];
    if plan.id {
        args.extend([&[Piece::Text("ID")][..], &[Piece::Id]]);
    }
    args.push(&time);
    let pairs: Vec<[[Piece<'_>; 1]; 2]> =
        fields.iter().map(|&(field, value)| [[Piece::Text(field)], [value]]).collect();
    args.extend(pairs.iter().flatten().map(|piece| &piece[..]));
    template.command(&args);
    Expect::outcome()
}

/// One EVENT.MADD.
fn madd(
    template: &mut Template,
    plan: &RequestPlan,
    fields: &[(&str, Piece<'_>)],
    time: Piece<'_>,
) -> Expect {
    let count = fields.len().to_string();
    let (stream, time, count) = ([Piece::Text(&plan.stream)], [time], [Piece::Text(&count)]);
    let mut args: Vec<&[Piece<'_>]> =
        vec![&[Piece::Text("EVENT.MADD")], &stream, &[Piece::Text("FIELDS")], &count];
    let names: Vec<[Piece<'_>; 1]> = fields.iter().map(|&(field, _)| [Piece::Text(field)]).collect();
    let values: Vec<[Piece<'_>; 1]> = fields.iter().map(|&(_, value)| [value]).collect();
    args.extend(names.iter().map(|piece| &piece[..]));
    if plan.id {
        args.push(&[Piece::Text("WITHIDS")]);
    }
    args.push(&[Piece::Text("EVENTS")]);
    for _ in 0..plan.rows {
        args.extend([&[Piece::NextKey][..], &time]);
        if plan.id {
            args.push(&[Piece::Id]);
        }
        args.extend(values.iter().map(|piece| &piece[..]));
    }
    template.command(&args);
    Expect::outcomes(plan.rows)
}

/// One WINDOW.GET.
fn get(template: &mut Template, plan: &RequestPlan) -> Expect {
    let stream = [Piece::Text(&plan.stream)];
    let (options, features) = (words(&plan.options), words(&plan.features));
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.GET")], &[Piece::NextKey], &stream];
    args.extend(options.iter().chain(&features).map(|piece| &piece[..]));
    template.command(&args);
    Expect::kind(b"*")
}

/// One WINDOW.MGET.
fn mget(template: &mut Template, plan: &RequestPlan) -> Expect {
    let count = plan.rows.to_string();
    let (stream, count) = ([Piece::Text(&plan.stream)], [Piece::Text(&count)]);
    let (options, features) = (words(&plan.options), words(&plan.features));
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.MGET")], &count];
    args.extend(std::iter::repeat_n(&[Piece::NextKey][..], plan.rows));
    args.push(&stream);
    args.extend(options.iter().chain(&features).map(|piece| &piece[..]));
    template.command(&args);
    Expect::kind(b"*")
}

/// One WINDOW.TOP.
fn top(template: &mut Template, plan: &RequestPlan) -> Expect {
    let count = plan.rows.to_string();
    template.command(&[
        &[Piece::Text("WINDOW.TOP")],
        &[Piece::Text(&plan.stream)],
        &[Piece::Text(&plan.features[0])],
        &[Piece::Text(&count)],
    ]);
    Expect::kind(b"*")
}
