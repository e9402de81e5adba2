use kodiak::ErrorKind;

use super::*;
use crate::data::DataSpec;
use crate::workloads;

fn tiny(data: &str) -> Plan {
    Plan::new(DataSpec::parse(data, &[]).expect("valid"), 300)
}

fn run(plan: &Plan, configuration: &str) -> Outcome {
    let configuration = Configuration::parse(configuration, None).expect("valid");
    run_configuration(plan, &configuration, None, &mut Quiet).expect("it runs")
}

#[test]
fn every_workload_runs_and_is_measured() {
    let outcome = run(&tiny("flights:2000"), "default");
    let names: Vec<_> = outcome
        .workloads
        .iter()
        .map(|measured| measured.workload.as_str())
        .collect();
    assert_eq!(
        names,
        workloads::ALL.iter().map(|workload| workload.name).collect::<Vec<_>>()
    );
    for measured in &outcome.workloads {
        assert!(measured.seconds > 0.0 && measured.latency.p50 > 0, "{measured:?}");
        assert!(measured.latency.p50 <= measured.latency.p999 && measured.latency.p999 <= measured.latency.max);
        let writes = workloads::find(&measured.workload).expect("known").writes();
        assert_eq!(measured.amplification.write.is_some(), writes, "{measured:?}");
    }
    let load = &outcome.workloads[0];
    assert_eq!((load.operations, load.entries), (2000, 2000));
    assert!(
        load.amplification.write.expect("it wrote") > 1.5,
        "log and flush: {load:?}"
    );
    let resources = outcome.resources;
    assert!(resources.live_bytes > 2000 * 60, "{resources:?}");
    assert!(
        resources.run_bytes > 0 && resources.directory_bytes >= resources.run_bytes,
        "{resources:?}"
    );
}

#[test]
fn the_same_plan_gives_the_same_answers_and_another_seed_others() {
    let plan = tiny("kv:1000");
    let answers = |outcome: Outcome| -> Vec<String> {
        outcome
            .workloads
            .into_iter()
            .map(|measured| measured.answers)
            .chain([outcome.contents])
            .collect()
    };
    let first = answers(run(&plan, "default"));
    assert_eq!(first, answers(run(&plan, "row+skiplist+tiered")));
    assert_ne!(first, answers(run(&Plan { seed: 43, ..plan }, "default")));
}

#[test]
fn the_directory_is_gone_afterwards() {
    let parent = tempfile::tempdir().expect("a directory");
    let configuration = Configuration::parse("default", None).expect("valid");
    let plan = Plan {
        workloads: vec!["read".into()],
        ..tiny("kv:100")
    };
    run_configuration(&plan, &configuration, Some(parent.path()), &mut Quiet).expect("it runs");
    assert_eq!(std::fs::read_dir(parent.path()).expect("listed").count(), 0);
    let missing = parent.path().join("none");
    let error = run_configuration(&plan, &configuration, Some(&missing), &mut Quiet).expect_err("no such directory");
    assert_eq!(error.file(), Some(missing.as_path()));
}

#[test]
fn a_wrong_value_a_missing_entry_and_one_too_many_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path().join("db"), kodiak::Settings::default()).expect("opened");
    let table = db.create_table("data", TableSchema::key_value()).expect("created");
    let data = DataSpec::parse("kv:200", &[])
        .and_then(|spec| spec.open())
        .expect("valid");
    let mut session = Session::new(&table, Model::new(&*data), 1);
    let mut memory = MemoryWatch::start();
    session
        .run(&workloads::LOAD, 1, &mut memory, &mut Quiet)
        .expect("loaded");
    session.check_everything().expect("all there");
    let mut key = Vec::new();
    data.key(7, &mut key);
    let mut refused = |what: &str, workload: &str| {
        let error = session.check_everything().expect_err("differs");
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.message().starts_with("wrong contents"), "{what}: {error}");
        let workload = workloads::find(workload).expect("known");
        let error = session.run(workload, 5000, &mut memory, &mut Quiet).err();
        let error = error.unwrap_or_else(|| panic!("{what} was not noticed by {}", workload.name));
        assert!(error.message().starts_with("wrong answer"), "{what}: {error}");
    };
    table.put(&key, b"other").expect("written");
    refused("a wrong value", "read");
    table.delete(&key).expect("written");
    refused("a missing entry", "scan");
    let mut value = Vec::new();
    data.value(7, 0, &mut value);
    table.put(&key, &value).expect("written");
    key.clear();
    data.absent_key(9, &mut key);
    table.put(&key, b"too many").expect("written");
    refused("one too many", "read-missing");
}

#[test]
fn an_error_names_configuration_and_workload() {
    let configuration = Configuration::parse("limits.max_value=50", None).expect("valid");
    let error = run_configuration(&tiny("kv:10"), &configuration, None, &mut Quiet).expect_err("values are larger");
    let text = error.to_string();
    assert!(
        text.contains("configuration limits.max_value=50: workload load"),
        "{text}"
    );
    assert_eq!(error.setting(), Some("limits.max_value"));
}
