//! What people change in records: it is overwritten, kept, or kept and flagged, as each field says.

use fake_crms::Account;

use super::{deal, hubspot};

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_change_is_overwritten_or_kept_or_flagged_though_the_connector_restarted() {
    let cases = [
        ("", "updated", "Refunded", None),
        (", on_conflict = \"keep\"", "unchanged, kept payment_status", "Disputed", None),
        (
            ", on_conflict = \"flag\", flag_field = \"payment_note\"",
            "updated, flagged payment_status",
            "Disputed",
            Some("payment_status: refunded was not written"),
        ),
    ];
    for (more, outcome, status, flag) in cases {
        let mut scene = hubspot("", &deal("", more)).await;
        scene.start();
        scene.deliver(1, "payment_intent.succeeded", 0).await;
        assert_eq!(scene.acked(1, 1).await, ["created"]);
        scene.stop().await;
        let record = scene.double.records().remove(0);
        assert_eq!(record.status, "Paid");
        scene.double.edit(&record.id, "payment_status", "disputed".into());
        scene.start();
        scene.deliver(1, "charge.refunded", 1).await;
        assert_eq!(scene.acked(1, 2).await, ["created", outcome]);
        assert_eq!(scene.double.records()[0].status, status, "{outcome}");
        let told = scene.double.backend().value(&record.id, "payment_note");
        assert_eq!(told.as_deref().filter(|told| !told.is_empty()), flag, "{outcome}");
        scene.stop().await;
    }
}
