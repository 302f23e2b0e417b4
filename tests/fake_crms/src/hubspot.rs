//! The double of HubSpot.
