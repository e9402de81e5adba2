//! Publications in the background, compared with what the tables have held.
//!
//! A publication stands for a moment at which the runs of its table held everything: one that the table went through, not
//! before its last flush once the database is at rest.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;

use super::shapes::read_rows;
use super::{DIR, Outcome, Runner, failed};
use crate::history::Write;
use crate::model::{Content, Model, TABLES, difference};
use crate::published::{self, Found, Publication};

/// What a table has held, from some moment on.
#[derive(Debug)]
struct Trail {
    /// The table's number.
    table: u64,
    /// At first; only this table.
    base: Model,
    /// What has come since: commits, each with its tick.
    commits: Vec<(u64, Change)>,
    /// So many of the commits were in runs at the last flush.
    flushed: usize,
}

#[derive(Debug)]
enum Change {
    Writes(Vec<Write>),
    /// What a crash has left, that is no state before.
    Left(Content),
}

impl Trail {
    fn new(table: u64, place: usize, tick: u64) -> Self {
        let mut base = Model {
            tick,
            ..Model::default()
        };
        base.tables[place] = Some(Content::new());
        Self {
            table,
            base,
            commits: Vec::new(),
            flushed: 0,
        }
    }

    /// The number of commits after which the table held `content` at `tick`; the last if there are several. And the state after
    /// these, or after all.
    fn find(&self, place: usize, content: &Content, tick: u64) -> (Option<usize>, Model) {
        let kind = TABLES[place].1;
        let same = |state: &Model| {
            let known = state.tables[place].iter().flatten();
            known.filter(|(_, value)| !kind.expired(value, tick)).eq(content)
        };
        let (mut state, mut found) = (self.base.clone(), None);
        if same(&state) {
            found = Some((0, state.clone()));
        }
        for (number, (tick, change)) in self.commits.iter().enumerate() {
            state.tick = *tick;
            match change {
                Change::Writes(writes) => writes.iter().for_each(|write| state.apply(write)),
                Change::Left(content) => state.tables[place] = Some(content.clone()),
            }
            if same(&state) {
                found = Some((number + 1, state.clone()));
            }
        }
        match found {
            Some((number, state)) => (Some(number), state),
            None => (None, state),
        }
    }
}

/// The trails of the tables that are published in the background, by place.
#[derive(Debug, Default)]
pub(super) struct Trails(BTreeMap<usize, Trail>);

impl Runner<'_> {
    fn is_published(&self, place: usize) -> bool {
        let publish = &self.setup.settings.publish;
        publish.continuous && (publish.key_value || !TABLES[place].1.schema().is_key_value())
    }

    /// A table was created.
    pub(super) fn begin_trail(&mut self, place: usize) {
        if let Some(table) = self.tables[place].as_ref().filter(|_| self.is_published(place)) {
            let trail = Trail::new(table.id().into(), place, self.model.tick);
            self.trails.0.insert(place, trail);
        }
    }

    /// A table was dropped.
    pub(super) fn end_trail(&mut self, place: usize) {
        self.trails.0.remove(&place);
    }

    /// Writes took effect together.
    pub(super) fn extend_trails(&mut self, writes: &[Write]) {
        let tick = self.model.tick;
        for (place, trail) in &mut self.trails.0 {
            let own: Vec<Write> = writes.iter().filter(|write| write.table == *place).cloned().collect();
            if !own.is_empty() {
                trail.commits.push((tick, Change::Writes(own)));
            }
        }
    }

    /// Everything is in runs.
    pub(super) fn flush_trails(&mut self) {
        for trail in self.trails.0.values_mut() {
            trail.flushed = trail.commits.len();
        }
    }

    /// The database goes on with what the model has.
    pub(super) fn recover_trails(&mut self) {
        let tick = self.model.tick;
        for (place, trail) in &mut self.trails.0 {
            let left = self.model.tables[*place].clone().unwrap_or_default();
            match trail.find(*place, &left, tick).0 {
                Some(number) => trail.commits.truncate(number),
                None => trail.commits.push((tick, Change::Left(left))),
            }
            trail.flushed = trail.flushed.min(trail.commits.len());
        }
    }

    /// Finds in each publication a state of its table. `at_rest`: publications have caught up with the runs.
    pub(super) fn check_published(&mut self, at_rest: bool) -> Outcome {
        if !self.setup.settings.publish.continuous {
            return Ok(());
        }
        if at_rest && let Some(db) = &self.db {
            db.wait_idle().map_err(failed("wait until all is published"))?;
        }
        let mut missing: Vec<usize> = self.trails.0.keys().copied().collect();
        for found in published::read_all(&self.storage, Path::new(DIR))? {
            let place = self.trails.0.iter().find(|(_, trail)| trail.table == found.number);
            let place = place.map(|(place, _)| *place);
            let Some(place) = place.filter(|&place| TABLES[place].0 == found.table) else {
                // A power loss may bring it back until the next opening.
                if self.db.is_none() {
                    continue;
                }
                return Err(format!("{:?} is published, and not there", found.table));
            };
            missing.retain(|known| *known != place);
            self.check_publication(place, &found, at_rest)
                .map_err(|error| format!("what is published of {:?}: {error}", found.table))?;
        }
        if at_rest && !missing.is_empty() {
            return Err(format!("the tables {missing:?} are not published"));
        }
        Ok(())
    }

    fn check_publication(&mut self, place: usize, found: &Found, at_rest: bool) -> Outcome {
        let tick = self.model.tick;
        for (how, publication) in [("record", Some(&found.record)), ("Delta table", found.delta.as_ref())] {
            let Some(content) = publication
                .map(|publication| self.published_content(place, publication))
                .transpose()?
            else {
                continue;
            };
            let Some(content) = content else {
                if at_rest {
                    return Err(format!("the columns of the {how} are not the table's"));
                }
                continue;
            };
            let Some(trail) = self.trails.0.get_mut(&place) else {
                continue;
            };
            let (number, state) = trail.find(place, &content, tick);
            match number {
                None => {
                    let difference = difference(&state.tables[place], &Some(content));
                    return Err(format!(
                        "by the {how} it is no state of the table; of the newest: {difference:?}"
                    ));
                }
                Some(number) if at_rest && number < trail.flushed => {
                    return Err(format!("by the {how} it is older than the last flush"));
                }
                // What it was before is nothing that a crash can bring back.
                Some(number) if at_rest && how == "record" => {
                    trail.commits.drain(..number);
                    trail.flushed -= trail.flushed.min(number);
                    trail.base = state;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The entries of a publication that are alive now; `None` if its columns are not those of the table any more.
    fn published_content(&self, place: usize, publication: &Publication) -> Outcome<Option<Content>> {
        let kind = TABLES[place].1;
        let Some(table) = &self.tables[place] else {
            return Ok(None);
        };
        let schema = table.schema();
        let names = schema.columns().fields().iter().map(|field| field.name());
        if !names.eq(&publication.columns) {
            return Ok(None);
        }
        let mut content = Content::new();
        let mut count = 0;
        for rows in &publication.rows {
            let entries: Vec<_> = if schema.is_key_value() {
                let column = |index: usize| rows.column(index).as_binary_opt::<i32>();
                let (Some(keys), Some(values)) = (column(0), column(1)) else {
                    return Err("keys and values are not binary".to_owned());
                };
                let pairs = keys.iter().flatten().zip(values.iter().flatten());
                pairs.map(|(key, value)| (key.to_vec(), value.into())).collect()
            } else {
                kind.entries(&read_rows(kind, &schema, rows)?)
            };
            count += rows.num_rows();
            content.extend(entries);
        }
        if content.len() != count {
            return Err(format!("{count} rows have {} keys", content.len()));
        }
        content.retain(|_, value| !kind.expired(value, self.model.tick));
        Ok(Some(content))
    }
}
