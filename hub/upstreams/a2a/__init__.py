"""Agents that speak the Agent2Agent protocol (A2A)."""
