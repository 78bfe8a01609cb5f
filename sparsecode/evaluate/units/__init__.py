"""What single units do: how often they are active, what noise costs, what they respond to."""
