//! Work that is split over threads.

use kodiak_core::{Error, Result};

/// Does work on each item on a thread of its own, all at the same time; a single one is not handed to another thread. Should one panic,
/// its result is an error that tells of `what`.
pub fn side_by_side<T: Send, R: Send>(
    what: &str,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    if items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<R>>| {
            let panicked = |_| Err(Error::corruption(format!("a thread of {what} panicked")));
            thread.join().unwrap_or_else(panicked)
        };
        threads.into_iter().map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_and_a_panic_is_an_error() {
        let double = |number: u32| match number {
            7 => panic!("seven"),
            8 => Err(Error::invalid_input("eight")),
            number => Ok(2 * number),
        };
        assert!(side_by_side("a test", Vec::new(), double).is_empty());
        let alone: Vec<u32> = side_by_side("a test", vec![4], double).into_iter().flatten().collect();
        assert_eq!(alone, [8]);
        let results = side_by_side("a test", vec![1, 7, 8, 3], double);
        let told: Vec<String> = results
            .into_iter()
            .map(|result| result.map_or_else(|error| error.message().to_owned(), |number| number.to_string()))
            .collect();
        assert_eq!(told, ["2", "a thread of a test panicked", "eight", "6"]);
    }
}
