//! Strict doubles of the CRMs that connectors write to.
