// ---- the live decoder
