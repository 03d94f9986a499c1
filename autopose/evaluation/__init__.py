"""From heatmaps to poses, scores and result files."""
