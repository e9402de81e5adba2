//! Prints, for each memtable, how many entries fit 64 MiB: measured, and by its declared overhead.
#![allow(clippy::print_stdout)]

use kodiak_core::entry::{EntryRef, Op};

fn main() -> kodiak_core::Result<()> {
    print(64 << 20)
}

fn print(budget: usize) -> kodiak_core::Result<()> {
    println!(
        "{:<15} {:>10} {:>10} {:>16}",
        "memtable", "entries", "declared", "overhead/entry"
    );
    for factory in kodiak_memtables::ALL {
        let table = factory.create_default(budget)?;
        let mut seq = 0_u64;
        while table.memory() < budget {
            seq += 1;
            let key = (u128::from(seq.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64).to_be_bytes();
            table.insert(EntryRef {
                key: &key,
                seq,
                op: Op::Put,
                value: &[7; 100],
            })?;
        }
        let declared = factory.capabilities.entries_in(budget, 16, 100);
        let overhead = table.memory() as f64 / seq as f64 - 116.0;
        println!(
            "{:<15} {seq:>10} {declared:>10} {overhead:>16.1}",
            factory.component.name
        );
    }
    Ok(())
}

#[cfg(test)]
#[test]
fn every_memtable_fills_a_small_budget() {
    print(256 << 10).expect("nothing fails");
}
