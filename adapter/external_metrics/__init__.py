"""The external metrics API: external.metrics.k8s.io/v1beta1 over HTTPS.

`quantity`, `selector`, `wire`, `discovery`, `openapi`, `negotiation`, `request` and
`overview` are pure. `auth` and what it joins decide who asks, `access` what they may
read, `gate` is the one door that every request passes. Nothing here computes a decision
or waits for the loop: an answer comes from the store, or is a Status that says why not.
"""
