//! The double of Salesforce.
