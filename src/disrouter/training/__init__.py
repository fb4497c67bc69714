"""Self-awareness training: profile an agent, derive accept and reject targets, fine-tune it on them."""
