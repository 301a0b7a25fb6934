// What the Python side hands over to take one token of many streams of a forecaster, from the user's units to the
// user's units: what a pool of streams spends its time on.
#pragma once

#include "layer.h"

namespace aaren {

// Where the state of a prefix attention stands in a record: bytes before its numbers.
struct StatePlace {
  int64_t max_score, normalizer, weighted_sum;
};

struct ForecastLayer {
  Layer layer;
  bool by_time;
  StatePlace place;  // (heads), (heads), (heads, width / heads)
};

struct ForecastModel {
  int64_t inputs, targets, calendar, horizon, levels, highway_rows;
  bool by_time;                   // the logarithm of the time since the token before is a feature
  const double *mean, *deviation;  // (inputs), of the scaler
  double decay, epsilon;           // of the running mean and deviation: log 2 / half-life; added to the variance
  Linear embed, head;
  LayerNorm last;        // after the layers; `weight` is null where there is none
  const float* highway;  // (horizon, highway_rows), or null
  int64_t record_bytes, position, highway_place;
  StatePlace norm;  // (inputs), (inputs), (inputs, 2)
  const ForecastLayer* layers;
  int64_t count;
};

struct ForecastStep {
  const ForecastModel& model;
  int64_t batch;
  const double* values;    // (batch, inputs), in the user's units; NaN is a missing value
  const float* calendar;   // (batch, calendar)
  const float* elapsed;    // (batch)
  const float* positions;  // (batch, width), added to the tokens; or null
  char* records;           // (batch, record_bytes); the states before, then the states after
  double* means;           // (batch, horizon, targets), in the user's units
  double* quantiles;       // (batch, horizon, targets, levels), ascending
  bool* sound;             // (batch): all means are finite, before they are put in the user's units
};

}  // namespace aaren
