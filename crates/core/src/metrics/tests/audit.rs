use super::*;
use crate::adapter::SinkMeter;
use crate::audit::{Actor, AuditLayer, AuditReceipt, AuditRecord, AuditSink};

/// Keeps nothing, and knows it or doesn't.
#[derive(Debug)]
struct Small {
    ready: bool,
}

impl AuditSink for Small {
    fn record(&self, _: AuditRecord) -> AuditReceipt {
        AuditReceipt::Pending(Box::pin(async {
            Err(Error::new(ErrorKind::Unavailable, "the disk is full"))
        }))
    }

    fn ready(&self) -> Result<()> {
        match self.ready {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, "the disk is full")),
        }
    }
}

#[tokio::test]
async fn what_is_withheld_because_it_can_not_be_recorded_is_counted() {
    for ready in [true, false] {
        let recorded = Recorded::default();
        let _here = recorded.here();
        let layer = AuditLayer::new(Actor::default()).sink(Arc::new(Small { ready }));
        let store = layer.layer(store_with(&["a"], []).await);
        get(&*store, "a").await.unwrap_err();
        assert_eq!(recorded.moved("keyfob_audit"), [r#"audit_withheld_total{} 1"#]);
    }
}

#[test]
fn a_sink_tells_what_it_kept_and_lost() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let meter = SinkMeter::new("file");
    meter.kept(10);
    meter.lost(2);
    assert_eq!(
        recorded.moved("keyfob_audit"),
        [
            r#"audit_records_total{sink="file",result="kept"} 10"#,
            r#"audit_records_total{sink="file",result="lost"} 2"#,
        ]
    );
}
