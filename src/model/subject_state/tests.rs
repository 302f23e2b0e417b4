//! Convergence by property: whatever a provider sends of one subject, in any order and however often,
//! ends in the same state. Then what the states mean, case by case.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::payment_axes::{MAX_ENTRIES, PaymentAxes};
use super::*;
use crate::model::references::MAX_METADATA_ENTRIES;
use crate::model::{
    Collection, CustomerAction, CustomerActionFact, Dispute, DisputeState, EndpointName, Entry,
    EntryState, Money, PaymentFact, PaymentReport, PaymentStatus,
};

fn subject(kind: SubjectKind) -> Subject {
    let endpoint = EndpointName::new("stripe", "acme-eu").expect("valid");
    Subject { kind, endpoint, id: "pi_1/é".to_owned() }
}

fn euros(minor_units: i64) -> Money {
    Money::new(minor_units, "EUR").expect("known")
}

fn draft(key: &str, at: i64, fact: Fact) -> Draft {
    Draft {
        key: key.to_owned(),
        event_id: key.to_owned(),
        event_type: "test".to_owned(),
        occurred_at: Timestamp::from_second(1_700_000_000 + at).expect("in range"),
        version: 0,
        rank: 0,
        subject: subject(fact.kind()),
        references: References::default(),
        live: true,
        fact,
    }
}

fn payment(key: &str, at: i64, fact: PaymentFact) -> Draft {
    draft(key, at, Fact::Payment(fact))
}

fn collected(status: PaymentStatus, total: Option<Money>) -> PaymentFact {
    PaymentFact {
        collection: Some(Collection { status, total, paid: None }),
        ..PaymentFact::default()
    }
}

fn refunded(id: &str, amount: Option<i64>, state: EntryState) -> PaymentFact {
    let refund = Entry { id: id.to_owned(), amount: amount.map(euros), state };
    PaymentFact { refund: Some(refund), ..PaymentFact::default() }
}

fn captured(id: &str, amount: Option<i64>, state: EntryState) -> PaymentFact {
    let capture = Entry { id: id.to_owned(), amount: amount.map(euros), state };
    PaymentFact { capture: Some(capture), ..PaymentFact::default() }
}

fn disputed(id: &str, amount: Option<i64>, state: DisputeState) -> PaymentFact {
    let dispute = Dispute { id: id.to_owned(), amount: amount.map(euros), state };
    PaymentFact { dispute: Some(dispute), ..PaymentFact::default() }
}

fn running(total: i64) -> PaymentFact {
    PaymentFact { refunded_total: Some(euros(total)), ..PaymentFact::default() }
}

fn paid_1000() -> PaymentFact {
    collected(PaymentStatus::Paid, Some(euros(1000)))
}

fn merged<'a>(drafts: impl IntoIterator<Item = &'a Draft>) -> SubjectState {
    let mut drafts = drafts.into_iter().peekable();
    let mut state = SubjectState::begin(&drafts.peek().expect("at least one").subject);
    for (sequence, draft) in (1..).zip(drafts) {
        let _ = state.apply(draft, Sequence(sequence));
    }
    state
}

/// The state after these facts, a second apart.
fn after(facts: &[PaymentFact]) -> SubjectState {
    let drafts = (0..).zip(facts).map(|(at, fact)| payment(&format!("evt_{at}"), at, fact.clone()));
    merged(&drafts.collect::<Vec<_>>())
}

fn status_of(state: &SubjectState) -> &'static str {
    state.status().expect("has facts").word()
}

fn report_of(report: Report) -> PaymentReport {
    match report {
        Report::Payment(report) => report,
        Report::Invoice(_) | Report::BankTransaction(_) | Report::CustomerAction(_) => {
            panic!("not about a payment: {report:?}")
        }
    }
}

fn any_money() -> impl Strategy<Value = Option<Money>> {
    let rare = Money::new(700, "USD").expect("known");
    select(vec![None, Some(euros(400)), Some(euros(600)), Some(euros(1000)), Some(rare)])
}

fn any_entry(ids: &'static [&'static str]) -> impl Strategy<Value = Entry> {
    let states = vec![EntryState::Pending, EntryState::Done, EntryState::Done, EntryState::Failed];
    (select(ids), any_money(), select(states)).prop_map(|(id, amount, state)| Entry {
        id: id.to_owned(),
        amount,
        state,
    })
}

fn any_collection() -> impl Strategy<Value = Collection> {
    let statuses = vec![
        PaymentStatus::Pending,
        PaymentStatus::Authorized,
        PaymentStatus::Paid,
        PaymentStatus::PartiallyPaid,
        PaymentStatus::Failed,
        PaymentStatus::Canceled,
    ];
    (select(statuses), any_money(), any_money()).prop_map(|(status, total, paid)| Collection {
        status,
        total,
        paid,
    })
}

fn any_dispute() -> impl Strategy<Value = Dispute> {
    let states = vec![DisputeState::Open, DisputeState::Won, DisputeState::Won, DisputeState::Lost];
    (select(vec!["dp_1", "dp_2"]), any_money(), select(states))
        .prop_map(|(id, amount, state)| Dispute { id: id.to_owned(), amount, state })
}

/// What one webhook says: mostly one axis, at times several.
fn any_payment_fact() -> impl Strategy<Value = PaymentFact> {
    let rarely = |money| proptest::option::weighted(0.2, money).prop_map(Option::flatten);
    let word = || select(vec!["", "", "", "card", "sepa"]).prop_map(str::to_owned);
    (
        proptest::option::weighted(0.4, any_collection()),
        proptest::option::weighted(0.2, any_entry(&["cap_1", "cap_2"])),
        proptest::option::weighted(0.4, any_entry(&["re_1", "re_2", "re_3"])),
        rarely(any_money()),
        proptest::option::weighted(0.3, any_dispute()),
        rarely(any_money()),
        word(),
        word(),
    )
        .prop_map(
            |(collection, capture, refund, refunded_total, dispute, fee, method, code)| {
                PaymentFact {
                    collection,
                    capture,
                    refund,
                    refunded_total,
                    dispute,
                    fee,
                    failure_code: code,
                    method,
                    ..PaymentFact::default()
                }
            },
        )
}

fn any_invoice_fact() -> impl Strategy<Value = InvoiceFact> {
    let due_dates =
        vec![None, Some(jiff::civil::date(2026, 11, 30)), Some(jiff::civil::date(2026, 12, 31))];
    (select(InvoiceStatus::ALL), any_money(), any_money(), any_money(), select(due_dates)).prop_map(
        |(status, total, paid, balance, due_date)| InvoiceFact {
            status,
            total,
            paid,
            balance,
            refunded: None,
            due_date,
        },
    )
}

fn any_action_fact() -> impl Strategy<Value = CustomerActionFact> {
    (select(CustomerAction::ALL), any_money()).prop_map(|(action, amount)| CustomerActionFact {
        action,
        amount,
        detail: String::new(),
    })
}

fn any_references() -> impl Strategy<Value = References> {
    let text = || select(vec!["", "", "a", "b"]).prop_map(str::to_owned);
    let names = subsequence(vec!["color", "crm", "order", "size"], 0..=4);
    (text(), text(), text(), names, text()).prop_map(|(payment, order, email, names, value)| {
        let metadata = names.into_iter().map(|name| (name.to_owned(), value.clone())).collect();
        References { payment, order, email, metadata, ..References::default() }
    })
}

/// Facts of one subject with crowded keys, as they happened, and the same as they might arrive: in any
/// order, some more than once.
fn arrivals(fact: impl Strategy<Value = Fact>) -> impl Strategy<Value = (Vec<Draft>, Vec<Draft>)> {
    let keyed = (0..3_i64, 0..4_i64, 0..3_u8, any::<bool>(), any_references(), fact);
    (proptest::collection::vec(keyed, 1..12), any::<bool>()).prop_flat_map(|(facts, versioned)| {
        let drafts: Vec<Draft> = (0..)
            .zip(facts)
            .map(|(number, (version, at, rank, live, references, fact))| Draft {
                version: if versioned { version } else { 0 },
                rank,
                live,
                references,
                ..draft(&format!("evt_{number}"), at, fact)
            })
            .collect();
        let repeats = proptest::collection::vec(any::<Index>(), 0..8);
        (Just(drafts), repeats).prop_flat_map(|(drafts, repeats)| {
            let mut arriving = drafts.clone();
            arriving.extend(repeats.iter().map(|at| at.get(&drafts).clone()));
            (Just(drafts), Just(arriving).prop_shuffle())
        })
    })
}

/// Asserts the law for one arrival, stored and read back between any two events as the store does it.
fn assert_converges(drafts: &[Draft], arriving: &[Draft]) -> Result<(), TestCaseError> {
    let expected = merged(drafts);
    let mut state = SubjectState::begin(&drafts[0].subject);
    for (sequence, draft) in (1..).zip(arriving) {
        let before = state.clone();
        let (change, _) = state.apply(draft, Sequence(sequence));
        prop_assert_eq!(change.previous, before.status());
        prop_assert_eq!(Some(change.current), state.status());
        if sequence > 1 {
            let same = state.axes == before.axes
                && state.references == before.references
                && state.live == before.live;
            prop_assert_eq!(change.superseded, same);
        }
        let text = serde_json::to_string(&state).expect("serializes");
        prop_assert_eq!(&serde_json::from_str::<SubjectState>(&text).expect("reads back"), &state);
    }
    prop_assert!(state.converges_with(&expected), "{state:#?}\n{expected:#?}");
    prop_assert_eq!(state.status(), expected.status());
    prop_assert_eq!(state.amounts(), expected.amounts());
    prop_assert_eq!(state.references(), expected.references());
    Ok(())
}

/// The references as the law puts it, value by value, without any of the compact form.
fn expected_references(drafts: &[Draft]) -> References {
    let mut ordered: Vec<&Draft> = drafts.iter().collect();
    ordered.sort_by_key(|draft| Key::of(draft));
    let mut all = References::default();
    for references in ordered.into_iter().map(|draft| &draft.references) {
        for (text, newer) in all.texts_mut().into_iter().zip(references.texts()) {
            if !newer.is_empty() {
                text.clone_from(newer);
            }
        }
        let stated = references.metadata.clone().into_iter().filter(|(_, value)| !value.is_empty());
        all.metadata.extend(stated);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn payments_converge_in_any_order_and_duplication(
        (drafts, arriving) in arrivals(any_payment_fact().prop_map(Fact::Payment)),
    ) {
        assert_converges(&drafts, &arriving)?;
    }

    #[test]
    fn invoices_converge_to_the_newest_report(
        (drafts, arriving) in arrivals(any_invoice_fact().prop_map(Fact::Invoice)),
    ) {
        assert_converges(&drafts, &arriving)?;
        let newest = drafts.iter().max_by_key(|draft| Key::of(draft)).expect("at least one");
        let Fact::Invoice(fact) = &newest.fact else { unreachable!("only invoices") };
        let open = [InvoiceStatus::Open, InvoiceStatus::PartiallyPaid].contains(&fact.status);
        let state = merged(&arriving);
        let overdue = state.due_date().is_some_and(|due| {
            drafts.iter().any(|draft| matches!(&draft.fact, Fact::Invoice(fact)
                if fact.status == InvoiceStatus::Overdue && fact.due_date >= Some(due)))
        });
        let expected = if open && overdue { InvoiceStatus::Overdue } else { fact.status };
        prop_assert_eq!(state.status(), Some(Status::Invoice(expected)));
        prop_assert_eq!(state.live(), newest.live);
    }

    #[test]
    fn a_passed_due_date_never_beats_money_nor_loses_to_an_open_invoice(
        (drafts, arriving) in arrivals(any_invoice_fact().prop_map(Fact::Invoice)),
        place in any::<Index>(),
    ) {
        let state = merged(&drafts);
        let Some(due) = state.awaited_due_date() else { return Ok(()) };
        let fact = state.overdue_fact(due).expect("it awaits the day");
        let passed = Draft {
            version: OVERDUE_VERSION,
            ..draft("tollgate:overdue", 0, Fact::Invoice(fact))
        };
        // Whenever it comes, before or after any of the reports.
        let mut with = arriving.clone();
        with.insert(place.index(arriving.len() + 1), passed.clone());
        let after = merged(&with);
        prop_assert_eq!(after.status(), Some(Status::Invoice(InvoiceStatus::Overdue)));
        prop_assert_eq!(after.awaited_due_date(), None);
        prop_assert_eq!(after.amounts(), state.amounts());
        prop_assert_eq!(after.live(), state.live());
        let all: Vec<Draft> = drafts.iter().cloned().chain([passed]).collect();
        assert_converges(&all, &with)?;

        let newest = drafts.iter().max_by_key(|draft| Key::of(draft)).expect("at least one");
        let Fact::Invoice(newest_fact) = &newest.fact else { unreachable!("only invoices") };
        let paid = InvoiceFact { status: InvoiceStatus::Paid, ..newest_fact.clone() };
        let paid = Draft {
            version: newest.version,
            occurred_at: newest.occurred_at,
            rank: u8::MAX,
            ..draft("evt_paid", 0, Fact::Invoice(paid))
        };
        with.insert(place.index(with.len()), paid);
        prop_assert_eq!(merged(&with).status(), Some(Status::Invoice(InvoiceStatus::Paid)));
    }

    #[test]
    fn payment_requests_converge_and_a_look_never_takes_an_end_back(
        (drafts, arriving) in arrivals(any_action_fact().prop_map(Fact::CustomerAction)),
    ) {
        assert_converges(&drafts, &arriving)?;
        let looks = [CustomerAction::LinkOpened, CustomerAction::InvoiceViewed];
        let action = |draft: &&Draft| match &draft.fact {
            Fact::CustomerAction(fact) => fact.action,
            _ => unreachable!("only actions"),
        };
        let newest = drafts
            .iter()
            .filter(|draft| !looks.contains(&action(draft)))
            .max_by_key(|draft| Key::of(draft));
        if let Some(CustomerAction::CheckoutCompleted) = newest.as_ref().map(action) {
            prop_assert_eq!(status_of(&merged(&arriving)), "CHECKOUT_COMPLETED");
        }
    }

    #[test]
    fn each_reference_is_the_newest_that_was_given(
        (drafts, arriving) in arrivals(Just(Fact::Payment(PaymentFact::default()))),
    ) {
        prop_assert_eq!(merged(&arriving).references(), expected_references(&drafts));
    }

    #[test]
    fn a_late_older_fact_never_changes_the_status(
        (drafts, arriving) in arrivals(any_payment_fact().prop_map(Fact::Payment)),
        late in any_collection(),
        late_state in select(vec![DisputeState::Open, DisputeState::Won, DisputeState::Lost]),
    ) {
        let known = |fact: PaymentFact| drafts.iter().any(|draft| {
            let Fact::Payment(held) = &draft.fact else { unreachable!("only payments") };
            let dispute = |fact: &PaymentFact| fact.dispute.as_ref().map(|it| it.id.clone());
            match dispute(&fact) {
                Some(id) => dispute(held) == Some(id),
                None => held.collection.is_some(),
            }
        });
        // Without amounts: one that nobody stated yet is news, however late it comes.
        let collection = Collection { total: None, ..late };
        let facts = [
            PaymentFact { collection: Some(collection), ..PaymentFact::default() },
            disputed("dp_1", None, late_state),
        ];
        let mut state = merged(&arriving);
        for fact in facts.into_iter().filter(|fact| known(fact.clone())) {
            let before = state.status();
            let (change, _) = state.apply(&payment("evt_late", -10, fact.clone()), Sequence(99));
            let old_version = Draft { version: -1, ..payment("evt_late", 0, fact) };
            let (change_by_version, _) = state.apply(&old_version, Sequence(100));
            prop_assert!(change_by_version.superseded);
            prop_assert!(change.superseded);
            prop_assert_eq!(state.status(), before);
        }
    }
}

#[test]
fn metadata_is_bounded_alike_in_any_order() {
    let drafts: Vec<Draft> = (0..30)
        .map(|number| {
            let names = (0..20).map(|at| format!("name_{:03}", (number * 37 + at * 11) % 200));
            let metadata: BTreeMap<_, _> = names.map(|name| (name, number.to_string())).collect();
            let references = References { metadata, ..References::default() };
            let fact = PaymentFact::default();
            Draft { references, ..payment(&format!("evt_{number}"), number % 7, fact) }
        })
        .collect();
    let forwards = merged(&drafts);
    let backwards = merged(drafts.iter().rev());
    assert!(forwards.converges_with(&backwards));
    let mut expected = expected_references(&drafts);
    expected.metadata = expected.metadata.into_iter().take(MAX_METADATA_ENTRIES).collect();
    assert_eq!(expected.metadata.len(), MAX_METADATA_ENTRIES);
    assert_eq!(forwards.references(), expected);
}

#[test]
fn entries_are_bounded_alike_in_any_order() {
    let facts: Vec<PaymentFact> = (0..MAX_ENTRIES + 5)
        .map(|number| refunded(&format!("re_{number:06}"), Some(1), EntryState::Done))
        .collect();
    let key = Key { version: 0, at: 0, rank: 0, tie: 0 };
    let merged = |facts: &mut dyn Iterator<Item = &PaymentFact>| {
        let mut axes = PaymentAxes::default();
        facts.for_each(|fact| {
            axes.merge(key, fact);
        });
        axes
    };
    let forwards = merged(&mut facts.iter());
    assert_eq!(forwards, merged(&mut facts.iter().rev()));
    assert_eq!(forwards.amounts().refunded, Some(euros(MAX_ENTRIES as i64)));
}

#[test]
fn partial_refunds_add_up_to_refunded() {
    let first = [paid_1000(), refunded("re_1", Some(400), EntryState::Done)];
    let state = after(&first);
    assert_eq!(status_of(&state), "PARTIALLY_REFUNDED");
    assert_eq!(state.amounts().refunded, Some(euros(400)));
    let both = [first.as_slice(), &[refunded("re_2", Some(600), EntryState::Done)]].concat();
    let state = after(&both);
    assert_eq!(status_of(&state), "REFUNDED");
    assert_eq!(state.amounts().refunded, Some(euros(1000)));
    assert_eq!(state.amounts().paid, Some(euros(1000)));
    let failed = [both.as_slice(), &[refunded("re_2", None, EntryState::Failed)]].concat();
    let state = after(&failed);
    assert_eq!(status_of(&state), "PARTIALLY_REFUNDED");
    assert_eq!(state.amounts().refunded, Some(euros(400)));
}

#[test]
fn a_refund_keeps_the_amount_that_a_later_report_leaves_out() {
    let state = after(&[
        paid_1000(),
        refunded("re_1", Some(1000), EntryState::Pending),
        refunded("re_1", None, EntryState::Done),
    ]);
    assert_eq!(status_of(&state), "REFUNDED");
}

#[test]
fn a_pending_or_failed_refund_alone_leaves_the_payment_paid() {
    for entry_state in [EntryState::Pending, EntryState::Failed] {
        let state = after(&[paid_1000(), refunded("re_1", Some(1000), entry_state)]);
        assert_eq!(status_of(&state), "PAID");
        assert_eq!(state.amounts().refunded, Some(euros(0)));
    }
}

#[test]
fn a_running_total_loses_only_refunds_that_failed_after_it() {
    let failed = || refunded("re_1", Some(300), EntryState::Failed);
    assert_eq!(after(&[paid_1000(), failed(), running(500)]).amounts().refunded, Some(euros(500)));
    assert_eq!(after(&[paid_1000(), running(500), failed()]).amounts().refunded, Some(euros(200)));
    let state = after(&[paid_1000(), running(300), failed()]);
    assert_eq!(state.amounts().refunded, Some(euros(0)));
    assert_eq!(status_of(&state), "PAID");
}

#[test]
fn a_running_total_and_its_refunds_do_not_count_twice() {
    let done = refunded("re_1", Some(500), EntryState::Done);
    let state = after(&[paid_1000(), done, running(500)]);
    assert_eq!(state.amounts().refunded, Some(euros(500)));
    assert_eq!(status_of(&state), "PARTIALLY_REFUNDED");
}

#[test]
fn a_dispute_won_goes_back_and_one_lost_stays() {
    let open = || disputed("dp_1", Some(700), DisputeState::Open);
    let state = after(&[paid_1000(), open()]);
    assert_eq!(status_of(&state), "DISPUTED");
    assert_eq!(state.headline(), Some(Headline::Disputed));
    assert_eq!(state.amounts().disputed, Some(euros(700)));
    let state = after(&[paid_1000(), open(), disputed("dp_1", None, DisputeState::Won)]);
    assert_eq!(status_of(&state), "PAID");
    assert_eq!(state.amounts().disputed, Some(euros(0)));
    let lost = [paid_1000(), open(), disputed("dp_1", None, DisputeState::Lost)];
    let state = after(&lost);
    assert_eq!(status_of(&state), "CHARGED_BACK");
    assert_eq!(state.amounts().disputed, Some(euros(700)));
    let other = [lost.as_slice(), &[disputed("dp_2", Some(1), DisputeState::Won)]].concat();
    assert_eq!(status_of(&after(&other)), "CHARGED_BACK");
}

#[test]
fn captures_decide_what_was_paid() {
    let authorized = || collected(PaymentStatus::Authorized, Some(euros(1000)));
    let state = after(&[authorized()]);
    assert_eq!((status_of(&state), state.amounts().paid), ("AUTHORIZED", None));
    let pending = captured("cap_1", Some(300), EntryState::Pending);
    assert_eq!(status_of(&after(&[authorized(), pending])), "AUTHORIZED");
    let first = captured("cap_1", Some(300), EntryState::Done);
    let second = captured("cap_2", Some(200), EntryState::Done);
    let state = after(&[authorized(), first, second]);
    assert_eq!((status_of(&state), state.amounts().paid), ("PAID", Some(euros(500))));
    let failed = || captured("cap_1", Some(300), EntryState::Failed);
    assert_eq!(status_of(&after(&[authorized(), failed()])), "FAILED");
    let canceled = collected(PaymentStatus::Canceled, None);
    assert_eq!(status_of(&after(&[authorized(), failed(), canceled])), "CANCELED");
}

#[test]
fn the_total_outlives_reports_that_leave_it_out() {
    let state = after(&[
        collected(PaymentStatus::Pending, Some(euros(1000))),
        collected(PaymentStatus::Paid, None),
    ]);
    assert_eq!(state.amounts().total, Some(euros(1000)));
    assert_eq!(state.amounts().paid, Some(euros(1000)));
}

#[test]
fn other_currencies_stay_out_of_sums_but_count_for_the_status() {
    let mut foreign = refunded("re_1", None, EntryState::Done);
    let dollars = Money::new(1_000_000, "USD").expect("known");
    foreign.refund.as_mut().expect("just set").amount = Some(dollars);
    let state = after(&[paid_1000(), foreign.clone()]);
    assert_eq!(state.amounts().refunded, Some(euros(0)));
    assert_eq!(status_of(&state), "PARTIALLY_REFUNDED");
    assert_eq!(after(&[foreign]).amounts().refunded, Some(dollars));
}

#[test]
fn sums_stop_at_the_greatest_amount() {
    let huge = |id| refunded(id, Some(i64::MAX), EntryState::Done);
    let state = after(&[paid_1000(), huge("re_1"), huge("re_2")]);
    assert_eq!(state.amounts().refunded, Some(euros(i64::MAX)));
    assert_eq!(status_of(&state), "REFUNDED");
}

#[test]
fn rank_decides_within_a_second_and_version_before_time() {
    let failed = payment("evt_1", 0, collected(PaymentStatus::Failed, None));
    let paid = Draft { rank: 1, ..payment("evt_0", 0, paid_1000()) };
    assert_eq!(status_of(&merged([&paid, &failed])), "PAID");
    let newer =
        Draft { version: 2, ..payment("evt_2", -5, collected(PaymentStatus::Failed, None)) };
    let older = Draft { version: 1, ..payment("evt_3", 5, paid_1000()) };
    assert_eq!(status_of(&merged([&newer, &older])), "FAILED");
}

#[test]
fn an_event_tells_what_it_changed() {
    let mut state = SubjectState::begin(&subject(SubjectKind::Payment));
    assert_eq!(state.status(), None);
    let paid = payment("evt_2", 10, paid_1000());
    let (change, _) = state.apply(&paid, Sequence(7));
    let status = Status::Payment(PaymentStatus::Paid);
    assert_eq!(change, Change { previous: None, current: status, superseded: false });
    let late = payment("evt_1", 0, collected(PaymentStatus::Pending, Some(euros(1000))));
    let (change, report) = state.apply(&late, Sequence(9));
    assert_eq!(change, Change { previous: Some(status), current: status, superseded: true });
    assert_eq!(report.amount(), Some(euros(1000)));
    assert_eq!((state.first_sequence(), state.last_sequence()), (Sequence(7), Sequence(9)));
    assert_eq!(state.event_count(), 2);
    assert_eq!(state.updated_at(), Some(paid.occurred_at));
}

#[test]
fn a_report_without_a_status_follows_from_what_it_is_about() {
    let mut state = after(&[paid_1000(), disputed("dp_1", Some(300), DisputeState::Open)]);
    let refund = payment("evt_8", 8, refunded("re_1", Some(400), EntryState::Done));
    let (change, report) = state.apply(&refund, Sequence(8));
    let report = report_of(report);
    assert_eq!(report.status, PaymentStatus::PartiallyRefunded);
    assert_eq!(change.current, Status::Payment(PaymentStatus::Disputed));
    assert_eq!((report.amount, report.refund.as_str()), (Some(euros(400)), "re_1"));
    let lost = payment("evt_9", 9, disputed("dp_1", None, DisputeState::Lost));
    let report = report_of(state.apply(&lost, Sequence(9)).1);
    assert_eq!(report.status, PaymentStatus::ChargedBack);
    assert_eq!((report.amount, report.dispute.as_str()), (Some(euros(300)), "dp_1"));
    let stated = PaymentFact { status: Some(PaymentStatus::Pending), ..PaymentFact::default() };
    let report = report_of(state.apply(&payment("evt_3", 3, stated), Sequence(10)).1);
    assert_eq!(report.status, PaymentStatus::Pending);
    assert_eq!(report.amount, Some(euros(1000)));
    assert_eq!(report.amounts.disputed, Some(euros(300)));
}

#[test]
fn failure_and_method_are_the_last_that_were_told() {
    let failed = PaymentFact {
        failure_code: "card_declined".to_owned(),
        failure_message: "x".repeat(5000),
        method: "card".to_owned(),
        ..collected(PaymentStatus::Failed, None)
    };
    let state = after(&[failed, collected(PaymentStatus::Pending, None)]);
    assert_eq!((state.failure_code(), state.method()), ("card_declined", "card"));
    assert_eq!(state.failure_message().len(), crate::model::references::MAX_REFERENCE_BYTES);
}

#[test]
fn repeated_references_are_stored_once() {
    let references = References { order: "A-1".to_owned(), ..References::default() };
    let drafts = [0, 2, 1].map(|at| Draft {
        references: references.clone(),
        ..payment(&format!("evt_{at}"), at, paid_1000())
    });
    let text = serde_json::to_string(&merged(&drafts)).expect("serializes");
    assert_eq!(text.matches("A-1").count(), 1, "{text}");
    assert!(text.contains(r#""s":"payments/stripe/acme-eu/pi_1%2F%C3%A9""#), "{text}");
}

#[test]
fn other_subjects_show_what_their_newest_report_says() {
    let bank = |key, at, status| {
        let fact = BankTransactionFact {
            status,
            amount: Some(euros(500)),
            counterparty: "ACME".to_owned(),
            remittance: String::new(),
            failure_code: "R01".to_owned(),
            failure_message: String::new(),
        };
        draft(key, at, Fact::BankTransaction(fact))
    };
    let booked = bank("evt_1", 1, BankTransactionStatus::Booked);
    let pending = bank("evt_0", 0, BankTransactionStatus::Pending);
    let state = merged([&booked, &pending]);
    assert_eq!((status_of(&state), state.amounts().paid), ("BOOKED", Some(euros(500))));
    assert_eq!(state.failure_code(), "R01");
    assert_eq!(merged([&pending]).amounts().paid, None);

    let due_date = Some(jiff::civil::date(2026, 12, 31));
    let fact = InvoiceFact {
        status: InvoiceStatus::Paid,
        total: Some(euros(900)),
        paid: None,
        balance: None,
        refunded: None,
        due_date,
    };
    let state = merged([&draft("evt_1", 0, Fact::Invoice(fact))]);
    assert_eq!((state.due_date(), state.amounts().paid), (due_date, Some(euros(900))));
}
