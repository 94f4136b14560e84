use super::*;
use crate::adapter::SinkMeter;

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
