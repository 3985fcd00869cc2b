//! Recovery: a crash at every byte, damage anywhere, against a model that keeps every entry.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the records up to some point say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    positions: BTreeMap<u128, u64>,
    mark: Option<Mark>,
}

impl Model {
    fn wrote(&mut self, entry: &Entry) {
        if let Some(position) = entry.position {
            let known = self.positions.entry(position.session()).or_default();
            *known = (*known).max(position.sequence());
        }
        self.mark = entry.mark.or(self.mark);
    }

    fn of(log: &Log) -> Self {
        Self {
            positions: log
                .positions()
                .map(|p| (p.session(), p.sequence()))
                .collect(),
            mark: log.mark,
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let position = (0..6_u128, 1..40_u64)
        .prop_map(|(session, sequence)| Position::new(SessionId(session), sequence));
    let mark = vec(any::<u8>(), 0..=MARK_BYTES).prop_map(|mark| Mark::new(&mark).unwrap());
    (
        proptest::option::weighted(0.8, position),
        proptest::option::weighted(0.3, mark),
    )
        .prop_map(|(position, mark)| Entry { position, mark })
}

/// Writes these as a process would; returns the file, and what it said at each length.
fn written(entries: &[Entry]) -> (Vec<u8>, Vec<Model>) {
    let (mut file, mut log) = Log::new().compacted();
    let mut model = Model::default();
    let mut said = vec![model.clone()];
    for entry in entries {
        if let Some(news) = log.news(entry) {
            file.extend_from_slice(&log.record(&news));
            log.wrote(&news);
            model.wrote(entry);
            said.push(model.clone());
        }
        assert_eq!(Model::of(&log), model);
        assert_eq!(log.length(), file.len() as u64);
    }
    (file, said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_crash_at_any_byte_loses_the_torn_record_and_nothing_else(
        entries in vec(entry(), 0..12),
        garbage in vec(any::<u8>(), 0..130),
    ) {
        let (file, said) = written(&entries);
        for length in 0..=file.len() {
            let log = Log::recover(&file[..length]).unwrap();
            let whole = length.saturating_sub(HEADER) / RECORD;
            prop_assert_eq!(&Model::of(&log), &said[whole]);
            let expected = if length < HEADER { 0 } else { HEADER + whole * RECORD };
            prop_assert_eq!(log.length(), expected as u64);
        }
        // What a disk has put behind the end counts for nothing.
        let mut longer = file.clone();
        longer.extend_from_slice(&garbage);
        let log = Log::recover(&longer).unwrap();
        prop_assert_eq!(&Model::of(&log), said.last().unwrap());
        prop_assert_eq!(log.length(), file.len() as u64);
    }

    #[test]
    fn damage_is_told_with_its_place_or_was_at_the_end(
        entries in vec(entry(), 1..12),
        at in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let (mut file, said) = written(&entries);
        let at = at.index(file.len());
        file[at] ^= flip;
        let records = said.len() - 1;
        match Log::recover(&file) {
            Err(damage) if at < HEADER => prop_assert_eq!(damage.at, 0),
            Err(damage) => {
                prop_assert!(at < file.len() - RECORD, "the last one is cut off");
                prop_assert_eq!(damage.at, (at / RECORD * RECORD) as u64);
            }
            Ok(log) => {
                prop_assert!(at >= HEADER && at >= file.len() - RECORD);
                prop_assert_eq!(&Model::of(&log), &said[records - 1]);
            }
        }
    }

    #[test]
    fn written_anew_it_says_the_same(entries in vec(entry(), 0..60)) {
        let (file, said) = written(&entries);
        let log = Log::recover(&file).unwrap();
        let (anew, log) = log.compacted();
        prop_assert_eq!(&Model::of(&log), said.last().unwrap());
        prop_assert_eq!(log.length(), anew.len() as u64);
        let again = Log::recover(&anew).unwrap();
        prop_assert_eq!(&Model::of(&again), said.last().unwrap());
        prop_assert_eq!(again.written, log.written);
        prop_assert!(anew.len() <= file.len() + RECORD);
        prop_assert_eq!(again.compacted().0, anew);
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_saying_so(
        bytes in vec(any::<u8>(), 0..400),
        headed in any::<bool>(),
    ) {
        let mut file = if headed { header().to_vec() } else { Vec::new() };
        file.extend_from_slice(&bytes);
        match Log::recover(&file) {
            Ok(log) => {
                prop_assert!(log.length() <= file.len() as u64);
                prop_assert_eq!(Model::of(&log), Model::default());
            }
            Err(damage) => prop_assert_eq!(damage, FOREIGN),
        }
    }
}

fn position(session: u128, sequence: u64) -> Entry {
    Entry {
        position: Some(Position::new(SessionId(session), sequence)),
        mark: None,
    }
}

#[test]
fn a_block_of_another_place_does_not_count() {
    let (mut file, _) = written(&[position(1, 1), position(2, 1), position(3, 1)]);
    let first: Vec<u8> = file[HEADER..HEADER + RECORD].to_vec();
    file[HEADER + RECORD..HEADER + 2 * RECORD].copy_from_slice(&first);
    let damage = Log::recover(&file).unwrap_err();
    assert_eq!(damage.at, (HEADER + RECORD) as u64);
}

#[test]
fn what_is_no_news_is_not_written() {
    let (_, log) = Log::new().compacted();
    let mut log = log;
    assert!(log.news(&position(1, 0)).is_none());
    log.wrote(&position(1, 7));
    assert!(log.news(&position(1, 7)).is_none() && log.news(&position(1, 6)).is_none());
    assert!(log.news(&position(1, 8)).is_some());
    let mark = Mark::new(b"m");
    let marked = Entry {
        mark,
        ..position(1, 7)
    };
    let news = log.news(&marked).expect("the mark is news");
    assert_eq!((news.position, news.mark), (None, mark));
    assert!(Mark::new(&[0; MARK_BYTES + 1]).is_none());
}

#[test]
fn it_holds_so_many_sessions_those_written_last_and_no_more_bytes() {
    let (_, mut log) = Log::new().compacted();
    let most = MOST_SESSIONS as u128;
    for round in 1..=3 {
        for session in 0..most {
            if log.is_long() {
                log = log.compacted().1;
            }
            assert!(log.length() < LONGEST);
            log.wrote(&position(session, round));
        }
        assert_eq!(log.positions().count(), MOST_SESSIONS);
    }
    log.wrote(&position(0, 9)); // used again
    log.wrote(&position(most, 1));
    assert_eq!(
        log.positions().count(),
        MOST_SESSIONS + 1 - MOST_SESSIONS / FORGOTTEN
    );
    let kept: BTreeMap<_, _> = log
        .positions()
        .map(|p| (p.session(), p.sequence()))
        .collect();
    assert_eq!(kept.get(&0), Some(&9));
    assert_eq!(kept.get(&most), Some(&1));
    assert!(!kept.contains_key(&1), "written longest ago");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_file_is_read_and_written_anew_or_refused(
        entries in vec((0_u128..4, 0_u64..9), 0..8),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end: prop::sample::Index,
    ) {
        let (mut file, mut log) = Log::new().compacted();
        for (session, processed) in entries {
            let entry = position(session, processed);
            file.extend(log.record(&entry));
            log.wrote(&entry);
        }
        for (place, byte) in changes {
            *place.get_mut(&mut file) = byte;
        }
        file.truncate(file.len() - end.index(file.len()) % 64);
        any_file(&file);
    }
}
