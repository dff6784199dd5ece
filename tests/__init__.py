"""Tests: unit (pure code), conformance (rows of the RFC checklist on a running set), integration, system."""
