use super::*;
use kodiak_core::compaction::SortedRunShape;

pub(crate) fn run(id: u64, min: &str, max: &str, bytes: u64) -> RunShape {
    RunShape {
        id,
        min_key: min.as_bytes().into(),
        max_key: max.as_bytes().into(),
        bytes,
        entries: bytes,
        tombstones: 0,
        dead: 0,
        min_seq: id * 10,
        max_seq: id * 10 + 9,
        oldest_micros: id,
        newest_micros: id,
        busy: false,
    }
}

pub(crate) fn sorted(runs: Vec<RunShape>) -> SortedRunShape {
    SortedRunShape { runs }
}

pub(crate) fn shape(levels: Vec<Vec<SortedRunShape>>) -> VersionShape {
    let levels = levels
        .into_iter()
        .map(|sorted_runs| LevelShape { sorted_runs })
        .collect();
    VersionShape { levels, now_micros: 0 }
}

const CONTEXT: PolicyContext = PolicyContext {
    levels: 3,
    memtable_bytes: 10,
    target_run_bytes: 10,
    ttl_micros: 0,
    dead_share: 0.0,
};

#[test]
fn level_0_takes_what_overlaps_and_the_gaps_of_the_base_between() {
    let shape = shape(vec![
        vec![sorted(vec![run(9, "a", "c", 10)]), sorted(vec![run(8, "b", "m", 10)])],
        vec![sorted(vec![
            run(1, "c", "d", 10),
            run(2, "e", "f", 10),
            run(3, "x", "y", 10),
        ])],
    ]);
    let plan = level_zero(&shape, 1, 1.0).expect("due");
    assert_eq!((plan.kind, plan.inputs), (PlanKind::Merge, vec![9, 8, 1, 2]));
}

#[test]
fn runs_of_level_0_that_meet_nothing_are_moved_together() {
    let shape = shape(vec![
        vec![
            sorted(vec![run(9, "p", "q", 10)]),
            sorted(vec![run(8, "m", "n", 10)]),
            sorted(vec![run(7, "a", "b", 10)]),
        ],
        vec![sorted(vec![run(1, "b", "d", 10)])],
    ]);
    let plan = level_zero(&shape, 1, 1.0).expect("due");
    assert_eq!((plan.kind, plan.inputs), (PlanKind::Move, vec![8, 9]));
}

#[test]
fn level_0_waits_for_busy_runs_and_is_merged_within_meanwhile() {
    let mut oldest = run(1, "a", "z", 10);
    oldest.busy = true;
    let shape = shape(vec![
        vec![
            sorted(vec![run(9, "a", "z", 10)]),
            sorted(vec![run(8, "a", "z", 10)]),
            sorted(vec![oldest]),
        ],
        vec![],
    ]);
    assert_eq!(level_zero(&shape, 1, 1.0), None);
    let plan = within_level_zero(&shape, 2, 1.0).expect("two runs are free");
    assert_eq!((plan.inputs, plan.output_level, plan.join), (vec![9, 8], 0, false));
}

#[test]
fn small_runs_of_level_0_are_merged_there_until_going_down_pays() {
    let zero = |sizes: &[u64]| {
        let runs = (0..)
            .zip(sizes)
            .map(|(age, &bytes)| sorted(vec![run(9 - age, "a", "z", bytes)]));
        let below = (1..4).map(|id| run(id, &format!("{id}"), &format!("{id}z"), 100));
        shape(vec![
            runs.collect(),
            vec![],
            vec![sorted(below.chain([run(4, "b", "y", 700)]).collect())],
        ])
    };
    let inputs = |sizes: &[u64], enough| {
        let plan = small_level_zero(&zero(sizes), 2, (enough, 10), 3, 1.0)?;
        assert_eq!((plan.output_level, plan.join), (0, false));
        Some(plan.inputs)
    };
    assert_eq!(inputs(&[1, 1, 1, 20], 50), Some(vec![9, 8, 7]), "those of like size");
    assert_eq!(inputs(&[1, 1, 20], 50), Some(vec![9, 8, 7]), "too few are: all");
    assert_eq!(inputs(&[1, 1, 20], 22), None, "together they are a memtable");
    assert_eq!(inputs(&[20, 25, 25], 500), None, "a tenth of what they meet");
    assert_eq!(inputs(&[1], 50), None, "nothing to merge");
    let mut busy = zero(&[1, 1, 1]);
    busy.levels[0].sorted_runs[1].runs[0].busy = true;
    assert_eq!(small_level_zero(&busy, 2, (50, 10), 3, 1.0), None);
}

#[test]
fn neighbours_that_cost_nothing_more_go_down_too() {
    let upper = vec![
        run(5, "a", "b", 10),
        run(6, "c", "d", 10),
        run(7, "e", "f", 10),
        run(8, "z", "z", 10),
    ];
    let shape = shape(vec![
        vec![],
        vec![sorted(upper)],
        vec![sorted(vec![run(1, "a", "f", 10), run(2, "y", "z", 90)])],
    ]);
    let plan = level_down(&shape, 1, 0, Movement::LeastOverlap, &CONTEXT, 1.0).expect("due");
    assert_eq!((plan.kind, plan.inputs), (PlanKind::Merge, vec![5, 6, 7, 1]));
}

#[test]
fn runs_full_of_tombstones_are_rewritten_in_the_last_level() {
    let mut dead = run(5, "a", "b", 10);
    dead.tombstones = 9;
    let shape = shape(vec![vec![], vec![sorted(vec![dead])], vec![]]);
    let plan = level_down(&shape, 1, 0, Movement::LeastOverlap, &CONTEXT, 1.0).expect("due");
    assert_eq!(plan.kind, PlanKind::Merge);
}

#[test]
fn many_small_neighbours_become_one_run() {
    let context = PolicyContext {
        target_run_bytes: 6400,
        ..CONTEXT
    };
    let keys: Vec<String> = (0..80).map(|number| format!("{number:02}")).collect();
    let neighbours = |bytes: &dyn Fn(usize) -> u64| {
        let runs = keys.iter().enumerate();
        let runs = runs.map(|(index, key)| run(index as u64, key, key, bytes(index)));
        shape(vec![vec![], vec![], vec![sorted(runs.collect())]])
    };
    let plan =
        join_small(&neighbours(&|index| if index == 35 { 100 } else { 99 }), &context, 0.5).expect("44 are small");
    assert_eq!((plan.kind, plan.output_level, plan.join), (PlanKind::Merge, 2, true));
    assert_eq!(plan.inputs, (36..80).collect::<Vec<_>>());
    let plan = join_small(&neighbours(&|_| 99), &context, 0.5).expect("all are small");
    assert_eq!(plan.inputs, (0..64).collect::<Vec<_>>(), "one target run at most");
    let few = |index: usize| if index % 32 == 31 { 100 } else { 1 };
    assert_eq!(join_small(&neighbours(&few), &context, 0.5), None, "never 32");
    let mut busy = neighbours(&|index| if index < 33 { 1 } else { 1000 });
    assert!(join_small(&busy, &context, 0.5).is_some());
    busy.levels[2].sorted_runs[0].runs[4].busy = true;
    assert_eq!(join_small(&busy, &context, 0.5), None);
}
