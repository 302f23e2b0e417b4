//! Connectors against doubles of the CRMs and a real gateway.
